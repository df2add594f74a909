//! A real browser: Debian's Chromium without a window, driven over WebDriver (W3C) by its chromedriver.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::child::Guarded;
use super::http::Request;
use super::scratch::Scratch;
use super::wait_for;

/// The member that names an element (WebDriver section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with an empty profile of its own.
pub struct Browser {
    session: String,
    driver: Option<Guarded>,
    scratch: Scratch,
}

/// An element of a document.
#[derive(Clone, Debug)]
pub struct Element(String);

/// Whether pages may run scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scripts {
    On,
    Off,
}

impl Browser {
    /// Starts one. It takes any certificate.
    pub fn start(scripts: Scripts) -> Self {
        let scratch = Scratch::new();
        let home = scratch.path().display().to_string();
        // Crash dumps, fonts and shared memory, too, stay in the scratch directory.
        let environment =
            ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR"].map(|name| (name, home.as_str()));
        let output = scratch.join("chromedriver.out");
        let mut driver = Guarded::start(&["chromedriver", "--port=0"], &environment, &output);
        let port: u16 = wait_for("chromedriver to listen", || {
            let printed = driver.printed();
            assert!(driver.ended().is_none(), "chromedriver ended:\n{printed}");
            let (_, port) = printed.split_once("started successfully on port ")?;
            port.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        });
        let server = format!("http://127.0.0.1:{port}");
        let answer = post(&format!("{server}/session"), &capabilities(&home, scripts));
        let id = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        Self { session: format!("{server}/session/{id}"), driver: Some(driver), scratch }
    }

    /// Goes to this address and waits until the page has loaded.
    pub fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url }));
    }

    /// The first element of this selector, once there is one.
    #[track_caller]
    pub fn find(&self, selector: &str) -> Element {
        wait_for(selector, || self.all(selector).into_iter().next())
    }

    /// The element with this `data-testid`, once it can be seen.
    #[track_caller]
    pub fn see(&self, name: &str) -> Element {
        let selector = format!("[data-testid={name}]");
        wait_for(&format!("{name} to be seen; the page: {}", self.text()), || {
            self.all(&selector).into_iter().find(|element| self.is_seen(element))
        })
    }

    /// Whether an element with this `data-testid` can be seen.
    pub fn sees(&self, name: &str) -> bool {
        self.all(&format!("[data-testid={name}]")).iter().any(|element| self.is_seen(element))
    }

    /// All elements of this selector.
    pub fn all(&self, selector: &str) -> Vec<Element> {
        let found = self.command("elements", &json!({ "using": "css selector", "value": selector }));
        let elements = found.as_array().cloned().unwrap_or_default();
        elements.iter().filter_map(|element| Some(Element(element[ELEMENT].as_str()?.to_owned()))).collect()
    }

    /// Whether it is displayed.
    pub fn is_seen(&self, element: &Element) -> bool {
        self.get(&format!("element/{}/displayed", element.0)) == json!(true)
    }

    /// Its text as people see it.
    pub fn text_of(&self, element: &Element) -> String {
        text(&self.get(&format!("element/{}/text", element.0)))
    }

    /// Clicks it.
    pub fn click(&self, element: &Element) {
        self.command(&format!("element/{}/click", element.0), &json!({}));
    }

    /// Types into it; for an input of files, their paths with line feeds between them.
    pub fn type_into(&self, element: &Element, text: &str) {
        self.command(&format!("element/{}/value", element.0), &json!({ "text": text }));
    }

    /// Presses a key, wherever the focus is: a character, or a code point of WebDriver's.
    pub fn press(&self, key: &str) {
        let actions = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let source = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.command("actions", &json!({ "actions": [source] }));
    }

    /// Draws a finger over it, from its middle by so many pixels.
    pub fn swipe(&self, element: &Element, (x, y): (i32, i32)) {
        let origin = json!({ "element-6066-11e4-a52e-4f735466cecf": element.0 });
        let actions = [
            json!({ "type": "pointerMove", "duration": 0, "origin": origin, "x": 0, "y": 0 }),
            json!({ "type": "pointerDown", "button": 0 }),
            json!({ "type": "pointerMove", "duration": 50, "origin": origin, "x": x, "y": y }),
            json!({ "type": "pointerUp", "button": 0 }),
        ];
        let touch = json!({ "pointerType": "touch" });
        let source = json!({ "type": "pointer", "id": "finger", "parameters": touch, "actions": actions });
        self.command("actions", &json!({ "actions": [source] }));
    }

    /// The value of a script.
    pub fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of the page as people see it.
    pub fn text(&self) -> String {
        self.all("body").first().map(|body| self.text_of(body)).unwrap_or_default()
    }

    /// Has it show pages on a screen of this size, in this scheme.
    pub fn show_on(&self, (width, height): (u32, u32), scheme: &str) {
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &media);
    }

    /// Writes a picture of the page as PNG.
    pub fn picture(&self, file: &Path) {
        let png = STANDARD.decode(text(&self.get("screenshot"))).expect("a screenshot is base64");
        std::fs::write(file, png).expect("the picture can be written");
    }

    /// Console messages of pages, and of the browser about them, since this was asked last.
    pub fn console(&self) -> Vec<String> {
        let entries = self.logged("browser");
        entries
            .iter()
            .map(|entry| format!("{}: {}", text(&entry["level"]), text(&entry["message"])))
            .collect()
    }

    /// The addresses that the browser has asked for since this was asked last.
    pub fn requested(&self) -> Vec<String> {
        let entries = self.logged("performance");
        let events =
            entries.iter().filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        let sent = events.filter(|event| event["message"]["method"] == "Network.requestWillBeSent");
        sent.map(|event| text(&event["message"]["params"]["request"]["url"])).collect()
    }

    /// A command of the Chrome DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn logged(&self, kind: &str) -> Vec<Value> {
        self.command("se/log", &json!({ "type": kind })).as_array().cloned().unwrap_or_default()
    }

    fn command(&self, path: &str, parameters: &Value) -> Value {
        post(&format!("{}/{path}", self.session), parameters)
    }

    fn get(&self, path: &str) -> Value {
        value(&Request::get(&format!("{}/{path}", self.session)).send().json())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser with its session; one that is killed leaves it.
        let _ = Request::new("DELETE", &self.session).try_send();
        self.driver.take();
    }
}

fn capabilities(home: &str, scripts: Scripts) -> Value {
    let mut arguments = vec![
        "--headless=new".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--no-first-run".to_owned(),
        "--no-proxy-server".to_owned(),
        "--lang=en-GB".to_owned(),
        format!("--user-data-dir={home}/profile"),
    ];
    if rustix::process::geteuid().is_root() {
        arguments.push("--no-sandbox".to_owned());
    }
    let content = if scripts == Scripts::Off { 2 } else { 1 };
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "acceptInsecureCerts": true,
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        "goog:chromeOptions": {
            "args": arguments,
            "prefs": { "profile.managed_default_content_settings.javascript": content },
        },
    } } })
}

fn post(url: &str, parameters: &Value) -> Value {
    let request = Request::new("POST", url).header("Content-Type", "application/json");
    value(&request.with(&["--data-raw", &parameters.to_string()]).send().json())
}

/// The value of a response.
///
/// # Panics
/// When it is an error.
#[track_caller]
fn value(response: &Value) -> Value {
    let value = &response["value"];
    assert!(value["error"].is_null(), "WebDriver: {}: {}", value["error"], value["message"]);
    value.clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
