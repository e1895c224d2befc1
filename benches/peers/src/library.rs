//! Jobs of libraries, each as a process of its own: `peers library JOB FILE...`. Every job prints what it found, so
//! that nothing is left out by the optimizer and answers can be compared.

use crate::Result;
use heaptriage::address::Svma;
use heaptriage::binary::elf::ElfFile;
use heaptriage::binary::lookup::{DebugFiles, look_up};
use heaptriage::input::heap::{HeapOptions, Parser};
use heaptriage::input::smaps;
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Runs the job that the arguments name.
pub fn run(arguments: &[String]) -> Result<()> {
    let [job, rest @ ..] = arguments else { return Err("which job?".into()) };
    let file = |at: usize| rest.get(at).map(Path::new).ok_or("which file?");
    match job.as_str() {
        "newlines" => println!("{} lines", memchr::memchr_iter(b'\n', &map(file(0)?)?).count()),
        "hex" => println!("sum of addresses {:x}", hex(&map(file(0)?)?)),
        "parse" => parse(file(0)?)?,
        "pprof_util" => {
            let profile = pprof_util::parse_jeheap(std::io::BufReader::new(File::open(file(0)?)?), None).map_err(|e| e.to_string())?;
            println!("{} stacks", profile.stacks.len());
        }
        "smaps" => {
            let text = map(file(0)?)?;
            let (mut records, mut rss) = (0usize, 0u64);
            for section in smaps::sections(&text) {
                records += section.records.len();
                rss += section.records.iter().flat_map(|record| record.values).fold(0u64, u64::wrapping_add);
            }
            println!("{records} mappings, sum {rss}");
        }
        "procfs" => {
            use procfs::FromBufRead;
            let text = std::fs::read(file(0)?)?;
            let (mut records, mut sum) = (0usize, 0u64);
            // It knows one text at a time, and neither time lines nor empty ones.
            for text in texts(&text) {
                let maps = procfs::process::MemoryMaps::from_buf_read(text)?;
                records += maps.len();
                sum += maps.iter().flat_map(|map| map.extension.map.values()).fold(0u64, |sum, value| sum.wrapping_add(*value));
            }
            println!("{records} mappings, sum {sum}");
        }
        // What the program inferno-flamegraph does.
        "inferno" => {
            let folded = std::io::BufReader::new(File::open(file(0)?)?);
            let svg = std::io::BufWriter::new(File::create(file(1)?)?);
            inferno::flamegraph::from_reader(&mut inferno::flamegraph::Options::default(), folded, svg)?;
        }
        "lookup" => ours(file(0)?, &addresses(file(1)?)?)?,
        "addr2line" => addr2line(file(0)?, &addresses(file(1)?)?)?,
        "blazesym" => blazesym(file(0)?, &addresses(file(1)?)?)?,
        other => return Err(format!("no job `{other}`").into()),
    }
    Ok(())
}

fn map(path: &Path) -> Result<Mmap> {
    // SAFETY: our own input, which nothing changes while the benchmark runs.
    Ok(unsafe { Mmap::map(&File::open(path)?)? })
}

/// The least that reading the addresses of a dump can cost: each found by its `0x`, its digits decoded eight at a
/// time, nothing kept.
fn hex(text: &[u8]) -> u64 {
    let mut sum = 0u64;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr(b'@', rest)) {
        at += found + 1;
        while let Some(window) = text.get(at..).and_then(|rest| rest.first_chunk::<16>()).filter(|window| window.starts_with(b" 0x")) {
            let eight = u64::from_le_bytes([window[3], window[4], window[5], window[6], window[7], window[8], window[9], window[10]]);
            let four = u64::from_le_bytes([b'0', b'0', b'0', b'0', window[11], window[12], window[13], window[14]]);
            if window[15] > b' ' || window[14] <= b' ' {
                let digits = window[3..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
                at += 3 + digits;
                continue;
            }
            sum = sum.wrapping_add(digits(eight) << 16 | digits(four));
            at += 15;
        }
    }
    sum
}

/// Eight hexadecimal digits, the first in the lowest byte.
fn digits(text: u64) -> u64 {
    let x = (text & 0x0f0f_0f0f_0f0f_0f0f) + 9 * (text >> 6 & 0x0101_0101_0101_0101);
    let x = (x << 4 | x >> 8) & 0x00ff_00ff_00ff_00ff;
    let x = (x << 8 | x >> 16) & 0x0000_ffff_0000_ffff;
    (x << 16 | x >> 32) & 0xffff_ffff
}

/// Parses a dump as the program does, block by block, and adds up its counts.
fn parse(path: &Path) -> Result<()> {
    let before = resident()?;
    let mut file = File::open(path)?;
    let mut parser = Parser::new(HeapOptions::default());
    let mut block = vec![0; 256 << 10];
    let mut filled = 0;
    loop {
        let read = file.read(&mut block[filled..])?;
        if read == 0 {
            break;
        }
        filled += read;
        let taken = parser.feed(&block[..filled]);
        block.copy_within(taken..filled, 0);
        filled -= taken;
    }
    let dump = parser.finish(&block[..filled]).map_err(|error| error.to_string())?.value;
    let bytes = dump.live.iter().fold(0u64, |sum, counts| sum.wrapping_add(counts.bytes));
    let kept = resident()?.saturating_sub(before);
    println!("{} stacks, {} frames, {} addresses, {bytes} bytes live", dump.len(), dump.frames.len(), dump.addresses.len());
    println!("{:.2} bytes a frame beside the text", kept as f64 / dump.frames.len().max(1) as f64);
    Ok(())
}

/// Resident bytes of this process.
fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("no second column in statm")?.parse()?;
    Ok(pages * 4096)
}

/// The single texts of a series that begins each with a line of digits.
fn texts(series: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    for line in series.split_inclusive(|&byte| byte == b'\n') {
        if !line.trim_ascii().is_empty() && line.trim_ascii().iter().all(u8::is_ascii_digit) {
            starts.push((at, at + line.len()));
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|start| start.0).chain([series.len()]);
    starts.iter().zip(ends).map(|(start, end)| &series[start.1..end]).collect()
}

fn addresses(path: &Path) -> Result<Vec<u64>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().map(|line| u64::from_str_radix(line.trim_start_matches("0x"), 16)).collect::<std::result::Result<_, _>>()?)
}

/// What every symbolizer answers: the same counts mean the same frames.
#[derive(Debug, Default)]
struct Answers {
    hits: usize,
    frames: usize,
    name_bytes: usize,
    lines: u64,
}

impl Answers {
    fn print(&self) {
        println!("{} addresses, {} frames, {} bytes of names, lines add up to {}", self.hits, self.frames, self.name_bytes, self.lines);
    }
}

fn ours(binary: &Path, addresses: &[u64]) -> Result<()> {
    let elf = ElfFile::open(binary)?;
    let split = BTreeMap::new();
    let files = DebugFiles { main: &elf, alternate: None, package: None, split: &split };
    let addresses: Vec<Svma> = addresses.iter().map(|&address| Svma::new(address)).collect();
    let found = look_up(files, &addresses, true);
    let mut answers = Answers::default();
    for at in 0..addresses.len() {
        let frames = found.frames(at);
        answers.hits += usize::from(!frames.is_empty());
        answers.frames += frames.len();
        for frame in frames {
            answers.name_bytes += frame.name.map_or(0, |name| found.names[name as usize].len());
            answers.lines += u64::from(frame.line.unwrap_or(0));
        }
    }
    answers.print();
    Ok(())
}

fn addr2line(binary: &Path, addresses: &[u64]) -> Result<()> {
    let loader = addr2line::Loader::new(binary).map_err(|error| error.to_string())?;
    let mut answers = Answers::default();
    for &address in addresses {
        let mut frames = loader.find_frames(address).map_err(|error| error.to_string())?;
        let before = answers.frames;
        while let Some(frame) = frames.next().map_err(|error| error.to_string())? {
            answers.frames += 1;
            if let Some(function) = &frame.function {
                answers.name_bytes += function.raw_name().map_err(|error| error.to_string())?.len();
            }
            answers.lines += u64::from(frame.location.and_then(|location| location.line).unwrap_or(0));
        }
        answers.hits += usize::from(answers.frames > before);
    }
    answers.print();
    Ok(())
}

fn blazesym(binary: &Path, addresses: &[u64]) -> Result<()> {
    use blazesym::symbolize::source::{Elf, Source};
    use blazesym::symbolize::{Input, Symbolizer};
    let symbolizer = Symbolizer::builder().enable_demangling(false).build();
    let found = symbolizer.symbolize(&Source::Elf(Elf::new(binary)), Input::VirtOffset(addresses))?;
    let mut answers = Answers::default();
    for symbolized in &found {
        let Some(symbol) = symbolized.as_sym() else { continue };
        answers.hits += 1;
        answers.frames += 1 + symbol.inlined.len();
        answers.name_bytes += symbol.name.len() + symbol.inlined.iter().map(|inlined| inlined.name.len()).sum::<usize>();
        answers.lines += symbol.code_info.as_ref().and_then(|code| code.line).map_or(0, u64::from);
    }
    answers.print();
    Ok(())
}
