use super::*;
use std::fs;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures")
}

fn decoded(bytes: &[u8]) -> Result<Pixels> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.png");
    fs::write(&path, bytes).unwrap();
    decode(&path, 3)
}

/// Greatest and mean difference that JPEG files may show: decoders round the cosine transform, the colours and what
/// they put between subsampled ones each in their own way. 16 bits are cut by Pillow and rounded here. Everything
/// else is equal to the byte.
const JPEG_TOLERANCE: (u8, f64) = (4, 0.5);

#[test]
fn pictures_are_as_pillow_has_them() {
    let text = fs::read_to_string(data().join("pillow.txt")).unwrap();
    for line in text.lines() {
        let [file, channels, resize, crop, height, width, hex] =
            line.split(' ').collect::<Vec<_>>()[..].try_into().unwrap();
        let size = |t: &str| (t != "-").then(|| t.parse::<Size>().unwrap());
        let shaping = Shaping { resize: size(resize), crop: size(crop) };
        let picture = decode(&data().join(file), channels.parse().unwrap()).unwrap();
        let got = shaping.apply(picture.clone()).unwrap();
        assert_eq!((got.height, got.width), (height.parse().unwrap(), width.parse().unwrap()), "{file}");
        assert_eq!(shaping.result(picture.height, picture.width).unwrap(), (got.height, got.width));
        let expected: Vec<u8> =
            (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        assert_eq!(got.data.len(), expected.len(), "{file}");
        let differences: Vec<u8> = got.data.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).collect();
        let most = differences.iter().copied().max().unwrap();
        let mean = differences.iter().map(|d| f64::from(*d)).sum::<f64>() / expected.len() as f64;
        let limit = match file {
            "rgb16.png" => (1, 0.6),
            _ if file.ends_with("png") => (0, 0.0),
            _ => JPEG_TOLERANCE,
        };
        assert!(most <= limit.0 && mean <= limit.1, "{file} {channels} {resize} {crop}: {most}, mean {mean}");
    }
}

#[test]
fn a_flat_picture_stays_flat_at_any_size() {
    for (h, w) in [(1, 1), (1, 40), (40, 1), (17, 3), (64, 64)] {
        let flat = Pixels { height: 9, width: 13, channels: 3, data: vec![201; 9 * 13 * 3] };
        assert!(resize::resize(&flat, h, w).data.iter().all(|v| *v == 201), "{h}x{w}");
    }
}

#[test]
fn no_prefix_of_a_file_is_a_picture() {
    for file in ["usual.jpg", "progressive.jpeg", "grey.JPG", "rgb.png", "palette.png", "rgb16.png"] {
        let whole = fs::read(data().join(file)).unwrap();
        assert!(decoded(&whole).is_ok());
        // A PNG file ends with a chunk of 12 bytes that says so and no more.
        let end = whole.len() - if file.ends_with("png") { 12 } else { 0 };
        for cut in (0..end).rev().step_by(if whole.len() > 2000 { 17 } else { 3 }) {
            assert!(decoded(&whole[..cut]).is_err(), "{file} cut to {cut} of {}", whole.len());
        }
    }
}

#[test]
fn thumbnails_do_not_end_a_picture() {
    let whole = fs::read(data().join("usual.jpg")).unwrap();
    // An application segment that holds an end marker, as that of a small picture within.
    let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 0xFF, 0xD9];
    let with = [&whole[..2], &thumbnail, &whole[2..]].concat();
    assert!(jpeg::is_complete(&with));
    assert!(!jpeg::is_complete(&with[..with.len() - 2]));
    assert!(jpeg::is_complete(&[&with[..], b"trailing"].concat()));
    for torn in
        [&[][..], &[0xFF], &[0xFF, 0xD8, 0xFF], &[0xFF, 0xD8, 0xFF, 0xE0, 0], &[0xFF, 0xD8, 0xFF, 0xE0, 9, 9]]
    {
        assert!(!jpeg::is_complete(torn));
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let mut state = 1u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for file in ["usual.jpg", "progressive.jpeg", "cmyk.jpg", "palette.png", "grey_alpha.png"] {
        let whole = fs::read(data().join(file)).unwrap();
        let format = image::guess_format(&whole).unwrap();
        for _ in 0..100 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next(8) {
                let at = next(bytes.len());
                bytes[at] = next(256) as u8;
            }
            if let Ok(p) = decode::decode_bytes(format, &bytes, 3) {
                assert_eq!(p.data.len(), p.height * p.width * 3);
            }
        }
    }
}

#[test]
fn headers_that_promise_too_much_are_refused() {
    let png = |width: u32, height: u32| {
        let mut bytes = fs::read(data().join("rgb.png")).unwrap();
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        bytes
    };
    assert!(decoded(&png(37, 23)).is_ok());
    let text = |bytes: &[u8]| format!("{:#}", decoded(bytes).unwrap_err());
    assert!(text(&png(60_000, 60_000)).contains("60000x60000"), "{}", text(&png(60_000, 60_000)));
    assert!(text(&png(1_000_000, 1)).contains("1x1000000"));
    for size in [(0, 0), (0, 5), (5, 0), (u32::MAX, u32::MAX), (1 << 31, 1 << 31)] {
        assert!(decoded(&png(size.0, size.1)).is_err());
    }
    let mut jpeg = fs::read(data().join("progressive.jpeg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC2]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    assert!(text(&jpeg).contains("65535x65535"), "{}", text(&jpeg));
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, b: &u8| (0..8).fold(crc ^ u32::from(*b), |c, _| (c >> 1) ^ (0xEDB8_8320 * (c & 1)));
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn sizes_are_one_number_or_two() {
    assert_eq!("224".parse(), Ok(Size::One(224)));
    assert_eq!("20x30".parse(), Ok(Size::Two { height: 20, width: 30 }));
    for bad in ["", "0", "x", "3x", "0x3", "-1", "1x2x3", "65536", "60000x60000", "99999999999999999999"] {
        assert!(bad.parse::<Size>().is_err(), "{bad}");
    }
}

fn input(dims: &[i64]) -> Value {
    use torsh_quantization::model::{Dim, Graph};
    let mut graph = Graph::new("g");
    let shape = dims.iter().map(|d| if *d < 0 { Dim::symbol(format!("s{}", -d)) } else { Dim::from(*d) });
    let x = graph.add_input("x", DType::F32, shape.collect());
    graph.value(x).clone()
}

fn pictures(dims: &[i64], layout: Option<Layout>, shaping: Shaping) -> Result<Pictures> {
    Pictures::new(vec![data().join("rgb.png"), data().join("usual.jpg")], &input(dims), layout, shaping)
}

#[test]
fn the_shape_of_the_input_decides_what_it_can() {
    let dims = |d: &[i64], layout, shaping| pictures(d, layout, shaping).map(|p| p.dims);
    let none = Shaping::default();
    assert_eq!(dims(&[-1, 3, 23, 37], None, none).unwrap(), [2, 3, 23, 37]);
    assert_eq!(dims(&[-1, 23, 37, 1], None, none).unwrap(), [2, 23, 37, 1]);
    assert_eq!(dims(&[-1, 3, -2, -3], None, none).unwrap(), [2, 3, 23, 37]);
    assert_eq!(dims(&[-1, -2, -3, -4], Some(Layout::Nhwc), none).unwrap(), [2, 23, 37, 3]);
    let crop = Shaping { resize: Some(Size::One(20)), crop: Some(Size::One(16)) };
    assert_eq!(dims(&[-1, 3, 224, 224], None, crop).unwrap(), [2, 3, 16, 16]);
    let shorter = Shaping { resize: Some(Size::One(46)), crop: None };
    assert_eq!(dims(&[-1, 3, -2, -3], None, shorter).unwrap(), [2, 3, 46, 74]);
    for (d, layout, word) in [
        (&[-1, 3, 8, 3][..], None, "--layout"),
        (&[-1, -2, -3, -4], None, "--layout"),
        (&[-1, 4, 8, 8], Some(Layout::Nchw), "4 channels (nchw)"),
        (&[-1, 3, 8], None, "rank 3"),
        (&[], None, "no batch"),
    ] {
        let text = dims(d, layout, none).unwrap_err().to_string();
        assert!(text.contains(word) && text.contains("input x"), "{text}");
    }
}

#[test]
fn rows_are_pictures_in_either_layout() {
    let first = decode(&data().join("rgb.png"), 3).unwrap();
    let last = pictures(&[-1, 23, 37, 3], None, Shaping::default()).unwrap();
    let rows = last.read(0, 2).unwrap();
    assert_eq!((rows.dims(), rows.dtype()), (&[2, 23, 37, 3][..], DType::U8));
    assert_eq!(rows.as_slice::<u8>().unwrap()[..first.data.len()], first.data);
    let planes = pictures(&[-1, 3, 23, 37], None, Shaping::default()).unwrap().read(0, 1).unwrap();
    let planes = planes.as_slice::<u8>().unwrap();
    for (i, v) in first.data.iter().enumerate() {
        assert_eq!(planes[i % 3 * 23 * 37 + i / 3], *v);
    }
    let other = pictures(&[-1, 3, 24, 37], None, Shaping::default()).unwrap();
    let text = other.read(1, 2).unwrap_err().to_string();
    assert!(text.contains("usual.jpg"), "{text}");
    assert!(other.read(1, 3).is_err());
}

#[test]
fn listings_are_in_the_order_of_names() {
    let t = tempfile::tempdir().unwrap();
    let put = |name: &str| {
        let path = t.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    };
    for name in
        ["b/2.png", "b/10.JPEG", "b/deep/1.png", "b/note.txt", "a/z.jpg", "B/x.png", ".git/x.png", "README"]
    {
        put(name);
    }
    let folder = open(t.path()).unwrap();
    let names: Vec<_> =
        folder.pictures.iter().map(|p| p.strip_prefix(t.path()).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["B/x.png", "a/z.jpg", "b/10.JPEG", "b/2.png", "b/deep/1.png"]);
    let classes = folder.classes.as_ref().unwrap();
    assert_eq!(
        (&classes.names[..], &classes.labels[..]),
        (&["B", "a", "b"].map(str::to_owned)[..], &[0, 1, 2, 2, 2][..])
    );
    let note = folder.note().unwrap();
    assert!(note.contains(".git") && note.contains("README") && note.contains("note.txt"), "{note}");

    put("top.png");
    let text = open(t.path()).unwrap_err().to_string();
    assert!(text.contains("beside folders") && text.contains("top.png"), "{text}");
    fs::remove_file(t.path().join("top.png")).unwrap();
    fs::create_dir(t.path().join("c")).unwrap();
    assert!(open(t.path()).unwrap_err().to_string().contains("the class has no pictures"));
    let flat = open(&t.path().join("a")).unwrap();
    assert!(flat.classes.is_none() && flat.note().is_none() && flat.pictures.len() == 1);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let t = tempfile::tempdir().unwrap();
    let at = |name: &str| t.path().join(name);
    fs::create_dir_all(at("real/a")).unwrap();
    fs::write(at("real/a/1.png"), b"").unwrap();
    fs::create_dir(at("set")).unwrap();
    symlink(at("real/a"), at("set/x")).unwrap();
    symlink(at("real/a"), at("set/y")).unwrap();
    assert_eq!(open(&at("set")).unwrap().pictures.len(), 2);
    symlink(at("set"), at("real/a/back")).unwrap();
    let text = open(&at("set")).unwrap_err().to_string();
    assert!(text.contains("set/x/back") && text.contains("leads back"), "{text}");
    fs::remove_file(at("real/a/back")).unwrap();
    symlink(at("nowhere"), at("real/a/2.png")).unwrap();
    assert!(open(&at("set")).unwrap_err().to_string().contains("2.png"));
}
