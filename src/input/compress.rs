//! gzip and zstd, recognized by their magic numbers, never by a file name.
//!
//! ```text
//! 1f 8b 08 ..        gzip, any number of members one after the other (RFC 1952)
//! 28 b5 2f fd ..     zstd, any number of frames (RFC 8878), skippable frames between them
//! ```
//!
//! A stream that ends early or is damaged gives what was decompressed up to there, with a warning:
//! a dump cut in half is still half a dump. Other compressions are refused by their name.

use crate::input::{ParseError, Parsed};
use crate::origin::Warning;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use std::borrow::Cow;
use std::io::Read;

/// Most that any input may decompress to: the largest heap dumps seen are below 1 GiB.
const MOST_BYTES: usize = 8 << 30;
/// Decompressed bytes that are fine whatever the compressed size is.
const FREE_BYTES: usize = 64 << 20;
/// Beyond [`FREE_BYTES`], most decompressed bytes for each compressed one. Dumps, smaps and statistics
/// compress 5 to 40 times; deflate cannot exceed 1032, and zeros in zstd reach 30,000.
const MOST_RATIO: usize = 400;
/// Largest zstd window: what `zstd --ultra --long=27` needs, and so what decoding may allocate up front.
const MOST_WINDOW: u64 = 128 << 20;
/// Bytes asked for at once.
const STEP: usize = 256 << 10;

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Compressions that are recognized only to be named: (magic, name, command that undoes it).
const OTHERS: [(&[u8], &str, &str); 4] = [
    (b"\xfd7zXZ\0", "xz", "xz -d"),
    (b"BZh", "bzip2", "bzip2 -d"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -d"),
    (b"PK\x03\x04", "a zip archive", "unzip"),
];

/// Whether `bytes` begin as something [`decompress`] undoes.
pub fn is_compressed(bytes: &[u8]) -> bool {
    bytes.starts_with(GZIP) || bytes.starts_with(ZSTD)
}

/// The content of `bytes`: decompressed if they are compressed, else themselves.
///
/// Fails when nothing can be decompressed, when the content is larger than any real input, and for
/// a compression that is not supported.
pub fn decompress(bytes: &[u8]) -> Result<Parsed<Cow<'_, [u8]>>, ParseError> {
    let content = if bytes.starts_with(GZIP) {
        gzip(bytes)?
    } else if bytes.starts_with(ZSTD) {
        zstd(bytes)?
    } else if let Some((_, name, command)) = OTHERS.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return Err(
            ParseError::new(0, format!("this is compressed with {name}, which is not read")).help(format!("undo it first: {command} FILE"))
        );
    } else {
        return Ok(Parsed::clean(Cow::Borrowed(bytes)));
    };
    Ok(Parsed { value: Cow::Owned(content.value), warnings: content.warnings })
}

fn gzip(bytes: &[u8]) -> Result<Parsed<Vec<u8>>, ParseError> {
    let mut out = Vec::new();
    match copy(&mut MultiGzDecoder::new(bytes), &mut out, bytes.len()) {
        Ok(()) => Ok(Parsed::clean(out)),
        Err(trouble) => salvage("gzip", out, trouble),
    }
}

fn zstd(bytes: &[u8]) -> Result<Parsed<Vec<u8>>, ParseError> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MOST_WINDOW);
        match StreamingDecoder::new_with_decoder(&mut rest, decoder) {
            Ok(mut frame) => {
                if let Err(trouble) = copy(&mut frame, &mut out, bytes.len()) {
                    return salvage("zstd", out, trouble);
                }
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                rest = rest.get(length as usize..).unwrap_or_default();
            }
            Err(error) => return salvage("zstd", out, Trouble::Damaged(error.to_string())),
        }
    }
    Ok(Parsed::clean(out))
}

enum Trouble {
    Damaged(String),
    TooLarge,
}

/// Reads `from` to its end; what was read before trouble stays in `out`.
fn copy(from: &mut impl Read, out: &mut Vec<u8>, compressed: usize) -> Result<(), Trouble> {
    let most = FREE_BYTES.max(compressed.saturating_mul(MOST_RATIO)).min(MOST_BYTES);
    let mut step = vec![0; STEP];
    loop {
        match from.read(&mut step) {
            Ok(0) => return Ok(()),
            Ok(read) => out.extend_from_slice(step.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Trouble::Damaged(error.to_string())),
        }
        if out.len() > most {
            return Err(Trouble::TooLarge);
        }
    }
}

fn salvage(name: &str, out: Vec<u8>, trouble: Trouble) -> Result<Parsed<Vec<u8>>, ParseError> {
    match trouble {
        Trouble::TooLarge => Err(ParseError::new(
            0,
            format!("the {name} stream decompresses to more than {} MiB, which no heap profile of its size does", out.len() >> 20),
        )
        .help("if it really is one, decompress it first and pass the result")),
        Trouble::Damaged(why) if out.is_empty() => Err(ParseError::new(0, format!("damaged {name} stream: {why}"))),
        Trouble::Damaged(why) => {
            let warning =
                Warning::at(out.len(), format!("truncated: the {name} stream is cut or damaged here ({why}); what comes before is used"));
            Ok(Parsed { value: out, warnings: vec![warning] })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gz(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zst(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[track_caller]
    fn check(input: &[u8], expected: &[u8]) {
        let found = decompress(input).unwrap();
        assert_eq!(found.value, expected);
        assert_eq!(found.warnings, []);
    }

    #[test]
    fn content_is_recognized_by_magic() {
        check(b"plain", b"plain");
        check(b"", b"");
        check(&gz(b"one"), b"one");
        check(&[gz(b"one "), gz(b"two")].concat(), b"one two");
        check(&zst(b"one"), b"one");
        check(&[zst(b"one "), zst(b"two")].concat(), b"one two");
        let skippable = [b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc".as_slice()].concat();
        check(&[zst(b"one "), skippable, zst(b"two")].concat(), b"one two");
    }

    #[test]
    fn a_cut_stream_keeps_its_sound_part() {
        let text: Vec<u8> = (0..200_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for packed in [gz(&text), zst(&text)] {
            let found = decompress(&packed[..packed.len() / 2]).unwrap();
            assert!(text.starts_with(&found.value) && found.value.len() > 1000);
            assert_eq!(found.warnings.len(), 1);
            assert!(found.warnings[0].message.starts_with("truncated: the "), "{}", found.warnings[0].message);
        }
    }

    #[test]
    fn damage_and_bombs_are_errors() {
        assert!(decompress(b"\x1f\x8b\x08").is_err());
        assert!(decompress(b"\x28\xb5\x2f\xfd").is_err());
        let bomb = gz(&vec![0; 70 << 20]);
        let error = decompress(&bomb).unwrap_err();
        assert!(error.message.contains("decompresses to more than 64 MiB"), "{error}");
        let error = decompress(b"BZh91AY").unwrap_err();
        assert_eq!(error.message, "this is compressed with bzip2, which is not read");
        assert_eq!(error.help.as_deref(), Some("undo it first: bzip2 -d FILE"));
    }
}
