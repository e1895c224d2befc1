//! A process with many mappings, and what a pass of the kernel over them costs: `peers mappings COUNT GIB`.

use crate::Result;
use std::io::Read;
use std::time::Instant;

/// Makes the mappings, prints `ready`, measures its own stalls until its standard input ends, and prints the longest.
pub fn run(arguments: &[String]) -> Result<()> {
    let [count, gib] = arguments else { return Err("peers mappings COUNT GIB".into()) };
    let (count, gib): (usize, f64) = (count.parse()?, gib.parse()?);
    let pages = (gib * (1u64 << 30) as f64 / 4096.0 / count as f64) as usize;
    for at in 0..count {
        // Neighbors of one kind become one mapping: every other one may be executed.
        let protection = libc::PROT_READ | libc::PROT_WRITE | if at % 2 == 0 { 0 } else { libc::PROT_EXEC };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping wherever the kernel likes.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), pages * 4096, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().into());
        }
        for page in 0..pages {
            // SAFETY: inside of the mapping just made, which is writable.
            unsafe { start.cast::<u8>().add(page * 4096).write(1) };
        }
    }
    println!("ready {}", std::process::id());
    // Whoever reads /proc/PID/smaps holds the lock that mapping memory needs: the longest wait for it is the stall.
    let worst = std::thread::spawn(|| {
        let (mut worst, start) = (0.0f64, Instant::now());
        while start.elapsed().as_secs() < 600 && !DONE.load(std::sync::atomic::Ordering::Relaxed) {
            let before = Instant::now();
            // SAFETY: a new anonymous page, unmapped again at once.
            unsafe {
                let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
                libc::munmap(page, 4096);
            }
            worst = worst.max(before.elapsed().as_secs_f64());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        worst
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    DONE.store(true, std::sync::atomic::Ordering::Relaxed);
    println!("longest wait of the process for its own mappings: {:.1} ms", worst.join().unwrap_or(f64::NAN) * 1e3);
    Ok(())
}

static DONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
