//! The role `stage` as the runner uses it: a request on stdin, records on stdout.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use shipline_init::frame::{Began, Ended, HEADER, Kind, Request, Usage, parse_header};

fn request(directory: &Path, commands: &[&str]) -> Request {
    let directory = directory.to_str().unwrap().to_owned();
    Request {
        commands: commands.iter().map(|&command| command.to_owned()).collect(),
        workdir: directory.clone(),
        workspace: directory.clone(),
        shell: vec!["sh".to_owned(), "-e".to_owned()],
        run: directory,
        ..Request::default()
    }
}

fn start() -> Child {
    Command::new(env!("CARGO_BIN_EXE_shipline-init"))
        .arg("stage")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The records, with neighbouring output of one stream as one.
fn records(mut bytes: &[u8]) -> Vec<(Kind, Vec<u8>)> {
    let mut records: Vec<(Kind, Vec<u8>)> = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(HEADER);
        let (kind, length) = parse_header(head.try_into().unwrap()).unwrap();
        let payload = &rest[..length];
        // Where a pipe is read between two writes is up to the machine's speed.
        match records.last_mut() {
            Some((last, joined))
                if *last == kind && matches!(kind, Kind::Stdout | Kind::Stderr) =>
            {
                joined.extend_from_slice(payload);
            }
            _ => records.push((kind, payload.to_vec())),
        }
        bytes = &rest[length..];
    }
    records
}

/// Tells the records as text: streams joined, commands by index.
fn told(records: &[(Kind, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (kind, payload) in records {
        let body = String::from_utf8_lossy(payload);
        text.push_str(&match kind {
            Kind::Ready | Kind::Accepted => String::new(),
            Kind::Stdout => format!("out:{body}|"),
            Kind::Stderr => format!("err:{body}|"),
            Kind::Command => format!("[{}]", Began::parse(payload).unwrap().index),
            Kind::Notice => format!("notice:{body}|"),
            Kind::Outputs => format!("outputs:{body}|"),
            // Of this machine, and so any.
            Kind::Usage => Usage::parse(payload).map(|_| String::new()).unwrap(),
            Kind::Exit => format!("exit:{}", Ended::parse(payload).unwrap().code),
        });
    }
    text
}

fn run(request: &Request) -> Vec<(Kind, Vec<u8>)> {
    let mut child = start();
    child.stdin.take().unwrap().write_all(&request.encode()).unwrap();
    let output = child.wait_with_output().unwrap();
    let records = records(&output.stdout);
    let ended = Ended::parse(&records.last().unwrap().1).unwrap();
    assert_eq!(output.status.code(), Some(i32::from(ended.code)), "the exit is also the process's");
    records
}

fn check(commands: &[&str], expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(told(&run(&request(directory.path(), commands))), expected, "{commands:?}");
}

#[test]
fn commands_share_one_shell_and_each_is_announced_before_its_output() {
    check(
        &["mkdir -p a/b && cd a/b", "X=1; echo one", "basename \"$PWD\"; echo $X"],
        "[0][1]out:one\n|[2]out:b\n1\n|exit:0",
    );
}

#[test]
fn the_first_command_that_fails_is_the_last_that_runs() {
    check(&["echo a", "false", "echo never"], "[0]out:a\n|[1]exit:1");
    check(&["exit 7", "echo never"], "[0]exit:7");
}

#[test]
fn a_list_of_no_commands_passes() {
    check(&[], "exit:0");
}

#[test]
fn a_half_command_fails_alone() {
    let directory = tempfile::tempdir().unwrap();
    let told = told(&run(&request(directory.path(), &["echo a", "echo 'b", "echo c'"])));
    assert!(told.starts_with("[0]out:a\n|[1]err:"), "{told}");
    assert!(told.ends_with("exit:2"), "{told}");
    assert!(!told.contains("[2]"), "{told}");
}

#[test]
fn what_looks_like_a_record_is_output() {
    check(
        &[r"printf '\003\000\000\000\002{}\006\000\000\000\002{}'"],
        "[0]out:\u{3}\0\0\0\u{2}{}\u{6}\0\0\0\u{2}{}|exit:0",
    );
}

#[test]
fn a_command_inherits_neither_the_script_nor_our_own_descriptors() {
    check(
        &["ls -l /proc/self/fd | grep -c -e memfd -e signalfd -e socket || true"],
        "[0]out:0\n|exit:0",
    );
}

#[test]
fn the_last_line_needs_no_newline() {
    check(&["printf a; printf b >&2"], "[0]out:a|err:b|exit:0");
}

#[test]
fn exit_codes_are_those_of_the_shell() {
    for code in [0, 1, 2, 125, 126, 127, 130, 137, 143, 255] {
        check(&[&format!("exit {code}")], &format!("[0]exit:{code}"));
    }
    check(&["kill -KILL $$"], "[0]exit:137");
}

#[test]
fn a_shell_that_is_not_there_is_127_and_one_that_cannot_run_is_126() {
    let directory = tempfile::tempdir().unwrap();
    let mut missing = request(directory.path(), &["true"]);
    missing.shell = vec!["no-such-shell".to_owned()];
    assert_eq!(told(&run(&missing)), "notice:`no-such-shell` is not in the image|exit:127");
    missing.shell = vec!["/etc/passwd".to_owned()];
    assert!(told(&run(&missing)).ends_with("exit:126"));
}

#[test]
fn outputs_are_returned_and_of_what_is_too_long_one_byte_too_much() {
    check(&["echo version=1.2 >>$SHIPLINE_OUTPUT"], "[0]outputs:version=1.2\n|exit:0");
    let directory = tempfile::tempdir().unwrap();
    let long = "head -c 70000 /dev/zero >$SHIPLINE_OUTPUT";
    let records = run(&request(directory.path(), &[long]));
    let outputs: usize =
        records.iter().filter(|(kind, _)| *kind == Kind::Outputs).map(|(_, body)| body.len()).sum();
    assert_eq!(outputs, (64 << 10) + 1);
}

#[test]
fn a_secret_is_a_variable_or_a_file_for_the_user_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut request =
        request(directory.path(), &["cat secrets/*; stat -c ' %a %n' secrets/*; echo $TOKEN"]);
    let secret = |name: &str, value: &str, env: Option<&str>| shipline_init::frame::Secret {
        name: name.to_owned(),
        value: value.to_owned(),
        env: env.map(str::to_owned),
    };
    request.secrets = vec![secret("KEY", "k", None), secret("T", "v", Some("TOKEN"))];
    let told = told(&run(&request));
    assert!(told.contains("k 400 secrets/KEY\nv\n"), "{told}");
}

#[test]
fn files_are_made_with_umask_zero() {
    check(&["touch f; stat -c %a f"], "[0]out:666\n|exit:0");
}

#[test]
fn a_megabyte_of_bytes_arrives_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..1 << 20).map(|index: u32| (index * 7 + index / 256) as u8).collect();
    std::fs::write(directory.path().join("bytes"), &bytes).unwrap();
    let records = run(&request(directory.path(), &["cat bytes"]));
    let read: Vec<u8> = records
        .into_iter()
        .filter(|(kind, _)| *kind == Kind::Stdout)
        .flat_map(|(_, payload)| payload)
        .collect();
    assert!(read == bytes);
}

#[test]
fn term_reaches_children_and_the_code_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = start();
    let request = request(directory.path(), &["sleep 60 & echo ready; wait"]);
    child.stdin.take().unwrap().write_all(&request.encode()).unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"ready\n") {
        let mut piece = [0; 64];
        let count = stdout.read(&mut piece).unwrap();
        assert_ne!(count, 0);
        bytes.extend(&piece[..count]);
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    stdout.read_to_end(&mut bytes).unwrap();
    assert!(told(&records(&bytes)).ends_with("exit:143"));
    assert_eq!(child.wait().unwrap().into_raw(), 143 << 8);
}

#[test]
fn term_before_the_request_ends_it() {
    let mut child = start();
    let mut first = [0; HEADER];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(parse_header(first).unwrap().0, Kind::Ready);
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn what_runs_in_the_background_ends_with_the_stage() {
    let directory = tempfile::tempdir().unwrap();
    let records = run(&request(directory.path(), &["sleep 60 & echo $!"]));
    let told = told(&records);
    let pid = told.trim_start_matches("[0]out:").split('\n').next().unwrap().to_owned();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    assert!(status.is_empty() || status.contains("State:\tZ"), "{status}");
}

#[test]
fn any_program_gets_all_commands_as_its_last_argument() {
    let directory = tempfile::tempdir().unwrap();
    let request = Request {
        shell: vec!["printf".to_owned(), "[%s]".to_owned()],
        as_argument: true,
        ..request(directory.path(), &["one", "two"])
    };
    assert_eq!(told(&run(&request)), "[0]out:[one\ntwo]|exit:0");
}

/// A stage whose records are kept in `file`, and one that follows them.
fn kept(file: &Path, limit: u64) -> Child {
    Command::new(env!("CARGO_BIN_EXE_shipline-init"))
        .args(["stage", file.to_str().unwrap(), &limit.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn follower(file: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_shipline-init"))
        .args(["records", file.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_nobody_hears_is_in_the_file_and_can_be_followed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("records");
    let commands = ["printf 'a\\0b'; sleep 0.3", "echo late >&2", "exit 7"];
    let mut child = kept(&file, 1 << 20);
    child.stdin.take().unwrap().write_all(&request(directory.path(), &commands).encode()).unwrap();
    // Whoever listened dies.
    drop(child.stdout.take());
    let mut follower = follower(&file);
    assert_eq!(child.wait().unwrap().code(), Some(7));
    drop(follower.stdin.take());
    let mut heard = Vec::new();
    follower.stdout.take().unwrap().read_to_end(&mut heard).unwrap();
    assert!(follower.wait().unwrap().success());
    assert_eq!(heard, std::fs::read(&file).unwrap());
    let records = records(&heard);
    assert_eq!(told(&records), "[0]out:a\0b|[1]err:late\n|[2]exit:7");
    let accepted = records.iter().position(|(kind, _)| *kind == Kind::Accepted).unwrap();
    assert_eq!(accepted, 1, "before anything ran");
}

#[test]
fn a_stage_that_was_never_asked_says_that_it_ran_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("records");
    for half in [0, 10] {
        let mut child = kept(&file, 1 << 20);
        let request = request(directory.path(), &["touch ran"]).encode();
        child.stdin.take().unwrap().write_all(&request[..half]).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(125));
        let records = records(&std::fs::read(&file).unwrap());
        assert!(records.iter().all(|(kind, _)| *kind != Kind::Accepted), "{records:?}");
        assert!(!directory.path().join("ran").exists());
    }
}

#[test]
fn a_stage_whose_records_cannot_be_kept_runs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = kept(&directory.path().join("none/records"), 1 << 20);
    let request = request(directory.path(), &["touch ran"]).encode();
    drop(child.stdin.take().unwrap().write_all(&request));
    assert_eq!(child.wait().unwrap().code(), Some(125));
    assert!(!directory.path().join("ran").exists());
}
