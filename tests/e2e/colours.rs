//! Previews have the colours that a colour-managed program shows: libvips, by its own conversion of the same files.

use std::fs::{self, File};
use std::path::Path;

use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};
use media_server::preview::{Bounds, Settings, Studio};
use moxcms::ColorProfile;

use crate::support::child::run;
use crate::support::scratch::Scratch;

/// How far the mean of all samples may be from the reference, of 255.
const FAR: f64 = 3.0;
const WIDTH: u32 = 96;
const HEIGHT: u32 = 64;

/// Red grows to the right, green downwards, blue against both.
fn gradient() -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let shade = |at: u32, of: u32| u8::try_from(at * 255 / (of - 1)).expect("a shade");
        let (red, green) = (shade(x, WIDTH), shade(y, HEIGHT));
        image::Rgb([red, green, 255 - red / 2 - green / 2])
    })
}

fn vips(arguments: &[&str]) {
    let (status, printed) = run(&[&["vips"], arguments].concat());
    assert_eq!(status, 0, "vips {arguments:?}: {printed}");
}

/// A PNG with this profile.
fn png(image: &DynamicImage, profile: &[u8], path: &Path) {
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.set_icc_profile(profile.to_vec()).expect("PNG takes profiles");
    let kind = if image.color().has_color() { ExtendedColorType::Rgb8 } else { ExtendedColorType::L8 };
    encoder.write_image(image.as_bytes(), WIDTH, HEIGHT, kind).expect("a picture can be encoded");
    fs::write(path, bytes).expect("the scratch directory takes files");
}

/// A picture that is coded in the colours of a profile.
struct Source {
    path: String,
    /// The file of its profile, or the name of one that vips has.
    profile: String,
}

/// A picture in each kind of colours that people's devices use.
fn sources(scratch: &Scratch) -> Vec<Source> {
    let at = |name: &str| scratch.join(name).display().to_string();
    let colours = DynamicImage::from(gradient());
    let grey = DynamicImage::from(colours.to_luma8());
    let mut sources = Vec::new();
    for (name, image, profile) in [
        ("p3", &colours, ColorProfile::new_display_p3()),
        ("adobe", &colours, ColorProfile::new_adobe_rgb()),
        ("grey", &grey, ColorProfile::new_gray_with_gamma(1.8)),
    ] {
        let (plain, file) = (at(&format!("{name}-plain.png")), at(&format!("{name}.icc")));
        let profile = profile.encode().expect("a profile can be written");
        fs::write(&file, &profile).expect("the scratch directory takes files");
        image.save_with_format(&plain, ImageFormat::Png).expect("the scratch directory takes files");
        let coded = at(&format!("{name}.png"));
        png(image, &profile, Path::new(&coded));
        sources.push(Source { path: coded, profile: file.clone() });
        for extension in ["jpg", "webp"] {
            // WebP has no grey.
            if extension == "jpg" || image.color().has_color() {
                let coded = at(&format!("{name}.{extension}"));
                vips(&["copy", &plain, &format!("{coded}[Q=95,profile={file}]")]);
                sources.push(Source { path: coded, profile: file.clone() });
            }
        }
    }
    let cmyk = at("cmyk.jpg");
    let plain = at("p3-plain.png");
    vips(&["icc_transform", &plain, &format!("{cmyk}[Q=95]"), "cmyk", "--input-profile", "srgb"]);
    sources.push(Source { path: cmyk, profile: "cmyk".to_owned() });
    sources
}

/// The mean distance of the samples of two pictures.
fn distance(one: &RgbImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let sum: u64 = one.iter().zip(other.iter()).map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
    sum as f64 / one.len() as f64
}

fn decoded(bytes: &[u8]) -> RgbImage {
    let Ok(image) = turbojpeg::decompress(bytes, turbojpeg::PixelFormat::RGB) else {
        return image::load_from_memory(bytes).expect("a picture").into_rgb8();
    };
    let rows = image.pixels.chunks(image.pitch).flat_map(|row| &row[..3 * image.width]).copied().collect();
    RgbImage::from_raw(image.width as u32, image.height as u32, rows).expect("all rows are there")
}

#[test]
fn previews_have_the_colours_of_a_colour_managed_reference() {
    let scratch = Scratch::new();
    let studio = Studio::new(Settings::default());
    for Source { path, profile } in sources(&scratch) {
        let reference = scratch.join("reference.png").display().to_string();
        let profiled = ["--input-profile", &profile, "--intent", "perceptual"];
        vips(&[&["icc_transform", &path, &reference, "srgb"], &profiled[..]].concat());
        let reference = image::open(&reference).expect("vips made a picture").into_rgb8();
        let file = File::open(&path).expect("a file of ours");
        let bounds = Bounds { height: HEIGHT, width: WIDTH };
        let made = studio.render(&file, bounds).unwrap_or_else(|refusal| panic!("{path}: {refusal}"));
        let far = distance(&decoded(&made.bytes), &reference);
        assert!(far <= FAR, "{path}: {far:.2} of 255");
        // The profile matters: without it the colours are others.
        if profile != "cmyk" {
            let plain = decoded(&fs::read(&path).expect("a file of ours"));
            assert!(distance(&plain, &reference) > FAR, "{path} looks the same without its profile");
        }
    }
}
