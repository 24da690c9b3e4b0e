//! Decoding of a file's bytes.

use super::super::encoding::{Decoded, decode};

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let marked = format!("\u{feff}{text}");
    marked.encode_utf16().flat_map(bytes).collect()
}

fn flaw(decoded: &Decoded) -> String {
    let flaw = decoded.flaw.as_ref().expect("something that is no text");
    flaw.to_string()
}

#[test]
fn a_byte_order_mark_selects_the_encoding() {
    let text = "a: \u{e9}\u{1f600}\u{feff}\n";
    let decoded = Decoded {
        text: text.to_owned(),
        flaw: None,
    };
    assert_eq!(decode(text.into()), decoded);
    assert_eq!(decode(format!("\u{feff}{text}").into()), decoded);
    assert_eq!(decode(utf16(text, u16::to_le_bytes)), decoded);
    assert_eq!(decode(utf16(text, u16::to_be_bytes)), decoded);
    for empty in [&b""[..], b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"] {
        assert_eq!(decode(empty.into()), Decoded::default());
    }
}

/// As many U+FFFD as kubectl produces.
#[test]
fn invalid_utf8_is_replaced_and_reported() {
    let cases: [(&[u8], &str, &str); 6] = [
        (
            b"a\nr\xe9s\xe9\n",
            "a\nr\u{fffd}s\u{fffd}\n",
            "line 2, byte 2",
        ),
        (b"\xe2\x82", "\u{fffd}", "line 1, byte 1"),
        (
            b"\xed\xa0\x80",
            "\u{fffd}\u{fffd}\u{fffd}",
            "line 1, byte 1",
        ),
        (b"\xc0\x80", "\u{fffd}\u{fffd}", "line 1, byte 1"),
        (
            b"\xf5\x80\x80\x80",
            "\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
            "line 1, byte 1",
        ),
        (b"\xef\xbb\xbfa\x80b", "a\u{fffd}b", "line 1, byte 5"),
    ];
    for (bytes, text, place) in cases {
        let decoded = decode(bytes.into());
        assert_eq!(decoded.text, text);
        let flaw = flaw(&decoded);
        assert!(flaw.starts_with(&format!("{place}: not UTF-8")), "{flaw}");
    }
}

#[test]
fn invalid_utf16_is_replaced_and_reported() {
    let mut half = utf16("a\nb", u16::to_le_bytes);
    half.push(0x61);
    let decoded = decode(half);
    assert_eq!(decoded.text, "a\nb\u{fffd}");
    assert!(decoded.is_cut());
    let place = "line 2, byte 3: not UTF-16";
    assert!(flaw(&decoded).starts_with(place), "{}", flaw(&decoded));

    let decoded = decode(b"\xfe\xff\x00a\xd8\x00\x00b".to_vec());
    assert_eq!(decoded.text, "a\u{fffd}b");
    assert!(!decoded.is_cut());
    let place = "line 1, byte 5: not UTF-16";
    assert!(flaw(&decoded).starts_with(place), "{}", flaw(&decoded));
}
