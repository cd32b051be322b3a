//! Exit codes in words: a shell exits with 128 and the number of the signal.

/// Returns for example `exit 139 (SIGSEGV, a wrong access to memory)`.
pub(crate) fn exit_text(code: i64) -> String {
    match meaning(code - 128) {
        Some((name, means)) => format!("exit {code} ({name}, {means})"),
        None => format!("exit {code}"),
    }
}

const fn meaning(signal: i64) -> Option<(&'static str, &'static str)> {
    Some(match signal {
        1 => ("SIGHUP", "its terminal was closed"),
        2 => ("SIGINT", "it was interrupted"),
        3 => ("SIGQUIT", "it was told to quit"),
        4 => ("SIGILL", "an instruction this machine does not have"),
        6 => ("SIGABRT", "it gave up, often after a failed assertion"),
        7 => ("SIGBUS", "an access to memory or a file that is not there"),
        8 => ("SIGFPE", "a division by zero or the like"),
        9 => ("SIGKILL", "killed, and not by Shipline"),
        11 => ("SIGSEGV", "a wrong access to memory"),
        13 => ("SIGPIPE", "nobody read what it wrote"),
        15 => ("SIGTERM", "told to end, and not by Shipline"),
        24 => ("SIGXCPU", "its time on the processor was used up"),
        25 => ("SIGXFSZ", "a file grew too large"),
        31 => ("SIGSYS", "a system call that containers may not make"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::exit_text;

    #[test]
    fn a_signal_is_named_and_other_codes_are_numbers() {
        let told = [0, 1, 127, 128, 139, 255].map(exit_text);
        let segmentation = "exit 139 (SIGSEGV, a wrong access to memory)";
        assert_eq!(told, ["exit 0", "exit 1", "exit 127", "exit 128", segmentation, "exit 255"]);
    }
}
