//! The routes: which path and method mean which action.

use crate::http::target;
use crate::media::Name;
use crate::metrics;
use crate::model::{Channel, Method, Refusal};
use crate::tickets::Scope;

/// Where a request leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To a channel, to do something there.
    Channel(Channel, Action),
    /// To the question which methods the address has.
    Options(&'static str),
}

/// The action on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List,
    Upload,
    SetAvatar,
    Download(Name),
    Metadata(Name),
    Update(Name),
    Delete(Name),
    Ticket(Scope),
}

impl Action {
    /// Under which name it is counted.
    pub fn name(&self) -> metrics::Route {
        match self {
            Self::List => metrics::Route::List,
            Self::Upload => metrics::Route::Upload,
            Self::SetAvatar => metrics::Route::SetAvatar,
            Self::Download(_) => metrics::Route::Download,
            Self::Metadata(_) => metrics::Route::Metadata,
            Self::Update(_) => metrics::Route::Update,
            Self::Delete(_) => metrics::Route::Delete,
            Self::Ticket(_) => metrics::Route::Ticket,
        }
    }

    /// Whether it only reads.
    pub fn reads(&self) -> bool {
        matches!(self, Self::List | Self::Download(_) | Self::Metadata(_))
    }
}

/// A request that leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misrouted {
    pub refusal: Refusal,
    /// The methods of the address, for 405.
    pub allow: Option<&'static str>,
}

impl From<Refusal> for Misrouted {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, allow: None }
    }
}

/// The methods of `/{channel}`.
const CHANNEL_METHODS: &str = "GET, HEAD, POST, OPTIONS";
/// The methods of `/{channel}/{id}`.
const MEDIA_METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";
/// The methods of `/{channel}/avatar`.
const AVATAR_METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
/// The methods of `/{channel}/{id}/metadata`.
const METADATA_METHODS: &str = "GET, HEAD, OPTIONS";
/// The methods of `/{channel}/ticket/{scope}`.
const TICKET_METHODS: &str = "POST, OPTIONS";

/// The route of a request. The path is percent-decoded here, once.
pub(super) fn route(method: Method, path: &str) -> Result<Route, Misrouted> {
    if path == "*" {
        return Ok(Route::Options(AVATAR_METHODS));
    }
    let segments = target::segments(path)?;
    let (allow, action) = match segments.as_slice() {
        [channel] if !channel.is_empty() => (CHANNEL_METHODS, on_channel(method)),
        [_, id] => {
            let name = name(id)?;
            let allow = if name == Name::Avatar { AVATAR_METHODS } else { MEDIA_METHODS };
            (allow, on_media(method, name)?)
        }
        [_, id, last] if last == "metadata" => (METADATA_METHODS, on_metadata(method, name(id)?)),
        [_, ticket, scope] if ticket == "ticket" => {
            let scope = Scope::from_name(scope).ok_or(Refusal::NoSuchRoute)?;
            (TICKET_METHODS, (method == Method::Post).then_some(Action::Ticket(scope)))
        }
        _ => return Err(Refusal::NoSuchRoute.into()),
    };
    let channel = segments[0].parse::<Channel>().map_err(|_| Refusal::BadChannel)?;
    if method == Method::Options {
        return Ok(Route::Options(allow));
    }
    let action = action.ok_or(Misrouted { refusal: Refusal::MethodNotAllowed, allow: Some(allow) })?;
    Ok(Route::Channel(channel, action))
}

fn name(segment: &str) -> Result<Name, Refusal> {
    match segment {
        "avatar" => Ok(Name::Avatar),
        "" => Err(Refusal::NoSuchRoute),
        id => id.parse().map(Name::Id).map_err(|_| Refusal::NoSuchMedia),
    }
}

fn on_channel(method: Method) -> Option<Action> {
    match method {
        Method::Get | Method::Head => Some(Action::List),
        Method::Post => Some(Action::Upload),
        _ => None,
    }
}

fn on_media(method: Method, name: Name) -> Result<Option<Action>, Misrouted> {
    Ok(match method {
        Method::Get | Method::Head => Some(Action::Download(name)),
        Method::Post => Some(Action::Update(name)),
        Method::Delete => Some(Action::Delete(name)),
        Method::Put if name == Name::Avatar => Some(Action::SetAvatar),
        Method::Put => {
            return Err(Misrouted { refusal: Refusal::OnlyAvatars, allow: Some(MEDIA_METHODS) });
        }
        Method::Options | Method::Other => None,
    })
}

fn on_metadata(method: Method, name: Name) -> Option<Action> {
    matches!(method, Method::Get | Method::Head).then_some(Action::Metadata(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(method: Method, path: &str) -> Result<Action, u16> {
        match route(method, path) {
            Ok(Route::Channel(_, action)) => Ok(action),
            Ok(Route::Options(_)) => Err(200),
            Err(misrouted) => Err(misrouted.refusal.row().status),
        }
    }

    fn id(id: &str) -> Name {
        Name::Id(id.parse().unwrap())
    }

    #[test]
    fn the_routes() {
        use Method::{Delete, Get, Head, Options, Other, Post, Put};
        for (method, path, expected) in [
            (Get, "/a@b", Ok(Action::List)),
            (Head, "/a@b", Ok(Action::List)),
            (Post, "/a%40b", Ok(Action::Upload)),
            (Put, "/a@b", Err(405)),
            (Get, "/a@b/X1", Ok(Action::Download(id("X1")))),
            (Get, "/a@b/avatar", Ok(Action::Download(Name::Avatar))),
            (Get, "/a@b/Avatar", Ok(Action::Download(id("Avatar")))),
            (Put, "/a@b/avatar", Ok(Action::SetAvatar)),
            (Put, "/a@b/X1", Err(405)),
            (Post, "/a@b/X1", Ok(Action::Update(id("X1")))),
            (Delete, "/a@b/avatar", Ok(Action::Delete(Name::Avatar))),
            (Get, "/a@b/X1/metadata", Ok(Action::Metadata(id("X1")))),
            (Post, "/a@b/X1/metadata", Err(405)),
            (Get, "/a@b/X1/other", Err(404)),
            (Post, "/a@b/ticket/read", Ok(Action::Ticket(Scope::Read))),
            (Post, "/a@b/ticket/po%73t", Ok(Action::Ticket(Scope::Post))),
            (Get, "/a@b/ticket/read", Err(405)),
            (Delete, "/a@b/ticket/read", Err(405)),
            (Post, "/a@b/ticket/Read", Err(404)),
            (Post, "/a@b/ticket/", Err(404)),
            (Post, "/a@b/ticket/read/", Err(404)),
            (Post, "/nobody/ticket/read", Err(400)),
            (Get, "/a@b/ticket", Ok(Action::Download(id("ticket")))),
            (Get, "/a@b/ticket/metadata", Ok(Action::Metadata(id("ticket")))),
            (Options, "/a@b/ticket/read", Err(200)),
            (Other, "/a@b/X1", Err(405)),
            (Get, "/", Err(404)),
            (Get, "/a@b/", Err(404)),
            (Get, "/a@b/X1/", Err(404)),
            (Get, "/a@b/..", Err(404)),
            (Get, "/a@b/%2e%2e%2fetc", Err(404)),
            (Get, "/nobody", Err(400)),
            (Get, "/%2e%2e", Err(400)),
            (Get, "/a%2fb@c", Err(400)),
            (Get, "/a@b%ff", Err(400)),
            (Options, "/a@b", Err(200)),
            (Options, "*", Err(200)),
            (Options, "/a@b/c/d", Err(404)),
        ] {
            assert_eq!(action(method, path), expected, "{method:?} {path}");
        }
    }

    #[test]
    fn every_address_says_what_it_allows() {
        assert_eq!(route(Method::Options, "/a@b/X"), Ok(Route::Options(MEDIA_METHODS)));
        assert_eq!(route(Method::Put, "/a@b/X").unwrap_err().allow, Some(MEDIA_METHODS));
        assert_eq!(route(Method::Get, "/a@b/ticket/post").unwrap_err().allow, Some(TICKET_METHODS));
        assert_eq!(route(Method::Other, "/a@b/avatar").unwrap_err().allow, Some(AVATAR_METHODS));
    }

    #[test]
    fn channels_are_prepared() {
        let route = route(Method::Get, "/Alice%40Example.COM").unwrap();
        assert_eq!(route, Route::Channel("alice@example.com".parse().unwrap(), Action::List));
    }
}
