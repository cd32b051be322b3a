//! How long `shipline check` takes as a whole process, against starting a process
//! that does nothing and, where there is one, `ninja -n` on a graph of the same
//! size. `make bench` prints the table into docs/performance.md.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Turns, interleaved: A B C, A B C …
const TURNS: usize = 21;

fn main() -> io::Result<()> {
    // `cargo test --all-targets` starts benches too, without this word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    println!("| work | an empty process | `shipline` | memory | `ninja -n` |");
    println!("| --- | --- | --- | --- | --- |");
    for (work, text, stages) in [
        ("`check`, 300 lines", lines(300), 0),
        ("`check`, 1,000 stages", stages(1000), 1000),
        ("`check`, 10,000 stages", stages(10_000), 10_000),
        ("`plan`, a matrix of 10,000 cells", matrix(), 0),
    ] {
        let folder = folder.path().join(work.replace(|c: char| !c.is_alphanumeric(), "-"));
        fs::create_dir(&folder)?;
        fs::write(folder.join(".shipline.yml"), text)?;
        row(work, &folder, stages)?;
    }
    Ok(())
}

fn row(work: &str, folder: &Path, stages: usize) -> io::Result<()> {
    let command = if work.starts_with("`plan`") { "plan" } else { "check" };
    let ninja = stages > 0 && ninja_file(folder, stages)?;
    let (mut empty, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let mut memory = 0;
    for _ in 0..TURNS {
        empty.push(run(Command::new("true"))?.0);
        let mut shipline = Command::new(env!("CARGO_BIN_EXE_shipline"));
        shipline.arg(command).current_dir(folder);
        let (took, bytes) = run(shipline)?;
        ours.push(took);
        memory = memory.max(bytes);
        if ninja {
            let mut ninja = Command::new("ninja");
            ninja.arg("-n").current_dir(folder);
            theirs.push(run(ninja)?.0);
        }
    }
    let (empty, ours) = (median(empty), median(ours));
    let theirs = if theirs.is_empty() {
        "–".to_owned()
    } else {
        let theirs = median(theirs);
        format!("{} ({:.2})", milliseconds(theirs), ours.as_secs_f64() / theirs.as_secs_f64())
    };
    println!(
        "| {work} | {} | {} ({:.1}) | {} MiB | {theirs} |",
        milliseconds(empty),
        milliseconds(ours),
        ours.as_secs_f64() / empty.as_secs_f64(),
        memory >> 20,
    );
    Ok(())
}

/// Returns how long the command took, and the most memory it held.
fn run(mut command: Command) -> io::Result<(Duration, u64)> {
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are those of locals of the right type, and the child is ours.
    #[expect(unsafe_code, reason = "std gives no rusage")]
    let usage = unsafe {
        if libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) != pid {
            return Err(io::Error::last_os_error());
        }
        usage.assume_init()
    };
    let took = start.elapsed();
    if !ExitStatus::from_raw(status).success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok((took, usage.ru_maxrss.unsigned_abs() << 10))
}

fn lines(count: usize) -> String {
    let mut text =
        "version: 1\ndefaults:\n  image: debian:12\n  timeout: 20m\nstages:\n".to_owned();
    for stage in 0..count / 6 {
        let _ = write!(
            text,
            "  stage-{stage}:\n    env:\n      COMMIT: \"${{{{ git.sha_short }}}}\"\n    when: {{ branch: [main, \"release/*\"] }}\n    run: make part-{stage}\n    timeout: 10m\n"
        );
    }
    text
}

fn stages(count: usize) -> String {
    let mut text = "image: debian:12\nstages:\n".to_owned();
    for stage in 0..count {
        let need = if stage == 0 { String::new() } else { format!("s{}", stage / 2) };
        let _ = writeln!(text, "  s{stage}: {{ run: make, needs: [{need}] }}");
    }
    text
}

fn matrix() -> String {
    let axis = (0..100).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    format!(
        "image: debian:12\nstages:\n  test: {{ matrix: {{ a: [{axis}], b: [{axis}] }}, run: make }}\n"
    )
}

/// The same graph for ninja; `false` when it is not installed.
fn ninja_file(folder: &Path, stages: usize) -> io::Result<bool> {
    let mut text = "rule make\n  command = make\n".to_owned();
    for stage in 0..stages {
        let need = if stage == 0 { String::new() } else { format!("s{}", stage / 2) };
        let _ = writeln!(text, "build s{stage}: make {need}");
    }
    fs::write(folder.join("build.ninja"), text)?;
    let version = Command::new("ninja").arg("--version").stdout(Stdio::null()).status();
    Ok(version.is_ok_and(|status| status.success()))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
