//! What a process of this machine has used, from `/proc`.

use std::time::Duration;

use anyhow::Context;

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time of all its threads, user and system.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
}

/// Clock ticks a second in `/proc`: fixed at 100 on Linux (`USER_HZ`), whatever the kernel's own rate.
const TICKS_PER_SECOND: u64 = 100;

/// Reads the usage of a process, 0 for this one.
///
/// # Errors
/// When there is no such process.
pub fn usage(pid: u32) -> anyhow::Result<Usage> {
    let folder = if pid == 0 {
        "/proc/self".to_owned()
    } else {
        format!("/proc/{pid}")
    };
    let stat = std::fs::read_to_string(format!("{folder}/stat"))
        .with_context(|| format!("--server-pid {pid}: no such process"))?;
    // The name of the program, in parentheses, may hold anything.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let field = |number: usize| -> u64 {
        // proc(5) counts from 1, and the first two are before the parenthesis.
        let text = fields.get(number - 3).copied().unwrap_or_default();
        text.parse().unwrap_or_default()
    };
    let status = std::fs::read_to_string(format!("{folder}/status")).context("its memory")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or_default();
    Ok(Usage {
        cpu: Duration::from_millis((field(14) + field(15)) * 1000 / TICKS_PER_SECOND),
        resident_bytes: kib * 1024,
        threads: field(20),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_threads() {
        let usage = usage(0).expect("this process");
        assert!(usage.resident_bytes > 1_000_000, "{usage:?}");
        assert!(usage.threads >= 1, "{usage:?}");
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = usage(u32::MAX).expect_err("no such process");
        assert!(error.to_string().contains("4294967295"));
    }
}
