//! Mutations of sound inputs, from a small generator of its own: the same ones in every run.

use std::io::Read;

/// A generator of numbers that look random (xorshift64*), the same in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Seeded by a name, so that tests do not disturb each other.
    pub fn of(name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Random(hash | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { usize::try_from(self.next() % bound as u64).expect("below a usize") }
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What is in a file: most fixtures are compressed, and a flipped bit of those rarely reaches the parser behind.
pub fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let read = if bytes.starts_with(b"\x1f\x8b") {
        flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut content)
    } else if bytes.starts_with(b"\x28\xb5\x2f\xfd") {
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(bytes).expect("a fixture is whole");
        decoder.read_to_end(&mut content)
    } else {
        return bytes.to_vec();
    };
    read.expect("a fixture is whole");
    content
}

/// Numbers that overflow something.
const NUMBERS: [&str; 9] = [
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "9223372036854775807",
    "4294967296",
    "0",
    "-1",
    "1e308",
    "99999999999999999999999999999999999999999999",
];

/// What was done, for the message of a failing test.
#[derive(Clone, Copy, Debug)]
pub enum Mutation {
    Cut,
    FlipBits,
    DoubleLines,
    DropLines,
    SwapLines,
    BlowUpNumbers,
    InsertBytes,
    EveryNumber,
}

/// Every kind of mutation.
pub const MUTATIONS: [Mutation; 8] = [
    Mutation::Cut,
    Mutation::FlipBits,
    Mutation::DoubleLines,
    Mutation::DropLines,
    Mutation::SwapLines,
    Mutation::BlowUpNumbers,
    Mutation::InsertBytes,
    Mutation::EveryNumber,
];

/// `input`, mutated.
pub fn mutate(input: &[u8], mutation: Mutation, random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    match mutation {
        Mutation::Cut => bytes.truncate(random.below(bytes.len())),
        Mutation::FlipBits => {
            for _ in 0..1 + random.below(16) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
        Mutation::DoubleLines => {
            return lines(&bytes, random, |line, random| if random.below(4) == 0 { vec![line, line] } else { vec![line] });
        }
        Mutation::DropLines => return lines(&bytes, random, |line, random| if random.below(4) == 0 { vec![] } else { vec![line] }),
        Mutation::SwapLines => {
            let mut all: Vec<&[u8]> = input.split_inclusive(|&byte| byte == b'\n').collect();
            for _ in 0..4 {
                let (a, b) = (random.below(all.len()), random.below(all.len()));
                if !all.is_empty() {
                    all.swap(a, b);
                }
            }
            return all.concat();
        }
        Mutation::BlowUpNumbers => return numbers(&bytes, random, 6),
        Mutation::EveryNumber => return numbers(&bytes, random, 1),
        Mutation::InsertBytes => {
            let odd: [&[u8]; 10] =
                [b"\0", b"\xff\xfe", b"\r\n", b"\x1b[2J", b"\xe2\x80\xae", b"\n\n", b" ", b"\xef\xbb\xbf", b"%s%n", b"\x1f\x8b\x08"];
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len() + 1);
                let insert = *random.pick(&odd);
                bytes.splice(at..at, insert.iter().copied());
            }
        }
    }
    bytes
}

fn lines<'a>(input: &'a [u8], random: &mut Random, mut each: impl FnMut(&'a [u8], &mut Random) -> Vec<&'a [u8]>) -> Vec<u8> {
    input.split_inclusive(|&byte| byte == b'\n').flat_map(|line| each(line, random)).flatten().copied().collect()
}

/// One decimal number in `one_of` is replaced by one that overflows something.
fn numbers(input: &[u8], random: &mut Random, one_of: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len());
    let mut index = 0;
    while index < input.len() {
        let end = input[index..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |length| index + length);
        if end == index {
            out.push(input[index]);
            index += 1;
            continue;
        }
        if random.below(one_of) == 0 {
            out.extend_from_slice(random.pick(&NUMBERS).as_bytes());
        } else {
            out.extend_from_slice(&input[index..end]);
        }
        index = end;
    }
    out
}
