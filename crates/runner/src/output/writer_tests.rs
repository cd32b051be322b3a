use std::path::PathBuf;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::sleep;

use super::*;
use crate::output::{follow, read_frames};

struct Written {
    directory: tempfile::TempDir,
}

impl Written {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        log_path(self.directory.path(), "test", 1)
    }

    async fn log(&self, secrets: &[&str]) -> AttemptLog {
        self.log_told(secrets, None).await
    }

    async fn log_told(
        &self,
        secrets: &[&str],
        observer: Option<mpsc::Sender<Observation>>,
    ) -> AttemptLog {
        let masker = Arc::new(Masker::new(secrets).unwrap());
        let halt = CancellationToken::new();
        AttemptLog::create(self.directory.path(), "test", 1, &masker, observer, halt).await.unwrap()
    }

    /// The frames in the file, as `offset stream text`.
    fn frames(&self) -> Vec<String> {
        let frames = read_frames(&self.path()).unwrap();
        frames.map(|frame| shown(&frame.unwrap())).collect()
    }
}

fn shown(frame: &Frame) -> String {
    let body = match &frame.body {
        FrameBody::Text(text) => format!("{text:?}"),
        FrameBody::Base64(text) => format!("base64 {text}"),
    };
    format!("{} {:?} {body}", frame.offset, frame.stream).to_lowercase()
}

fn chunk(stream: OutputStream, bytes: &'static [u8]) -> Chunk {
    Chunk { stream, bytes: Bytes::from_static(bytes) }
}

#[tokio::test]
async fn a_file_is_a_header_and_frames_of_lines_with_offsets_over_both_streams() {
    let written = Written::new();
    let mut log = written.log(&[]).await;
    log.write(&chunk(OutputStream::Stdout, b"one\ntw")).await;
    log.write(&chunk(OutputStream::Stderr, b"oops\n")).await;
    log.write(&chunk(OutputStream::Stdout, b"o\nlast")).await;
    log.say("done").await;
    log.finish().await.unwrap();
    let text = std::fs::read_to_string(written.path()).unwrap();
    assert_eq!(
        text,
        r#"{"format":1}
{"stage":"test","attempt":1,"stream":"stdout","offset":0,"text":"one\n"}
{"stage":"test","attempt":1,"stream":"stderr","offset":4,"text":"oops\n"}
{"stage":"test","attempt":1,"stream":"stdout","offset":9,"text":"two\n"}
{"stage":"test","attempt":1,"stream":"engine","offset":13,"text":"done\n"}
{"stage":"test","attempt":1,"stream":"stdout","offset":18,"text":"last"}
"#
    );
    assert_eq!(log.last_line().as_deref(), Some("last"));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_kept_as_they_are() {
    let written = Written::new();
    let mut log = written.log(&[]).await;
    log.write(&chunk(OutputStream::Stdout, b"\xff\x00\n")).await;
    log.write(&chunk(OutputStream::Stdout, b"a\xc3")).await;
    log.write(&chunk(OutputStream::Stdout, b"\xa4\n")).await;
    log.finish().await.unwrap();
    assert_eq!(
        written.frames(),
        ["0 stdout base64 /waK".to_lowercase(), "3 stdout \"aä\\n\"".to_owned()]
    );
}

#[tokio::test]
async fn no_secret_reaches_the_file_or_an_observer() {
    let written = Written::new();
    let (observer, mut observed) = mpsc::channel(16);
    let mut log = written.log_told(&["hunter22"], Some(observer)).await;
    log.write(&chunk(OutputStream::Stdout, b"password: hun")).await;
    // Another stream in between does not tear it apart.
    log.write(&chunk(OutputStream::Stderr, b"login\n")).await;
    log.write(&chunk(OutputStream::Stdout, b"ter22\n")).await;
    log.finish().await.unwrap();
    drop(log);
    assert_eq!(written.frames(), ["0 stderr \"login\\n\"", "6 stdout \"password: ***\\n\""]);
    let mut told = Vec::new();
    while let Some(Observation::Frame(frame)) = observed.recv().await {
        told.push(shown(&frame));
    }
    assert_eq!(told, written.frames());
}

#[tokio::test(start_paused = true)]
async fn a_prompt_is_shown_although_its_line_has_not_ended() {
    let written = Written::new();
    let mut log = written.log(&[]).await;
    let (sender, mut chunks) = mpsc::channel(1);
    let ((), ()) = tokio::join!(log.pump(&mut chunks), async {
        sender.send(chunk(OutputStream::Stdout, b"continue? ")).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(written.frames(), ["0 stdout \"continue? \""]);
        sender.send(chunk(OutputStream::Stdout, b"no\n")).await.unwrap();
        drop(sender);
    });
    log.finish().await.unwrap();
    assert_eq!(written.frames(), ["0 stdout \"continue? \"", "10 stdout \"no\\n\""]);
}

#[tokio::test]
async fn output_ends_at_its_limit_with_a_line_that_says_so() {
    let written = Written::new();
    let mut log = written.log(&[]).await.with_limit(10);
    log.write(&chunk(OutputStream::Stdout, b"123456\n")).await;
    log.write(&chunk(OutputStream::Stdout, b"12\n")).await;
    assert_eq!(written.frames().len(), 2, "what fits exactly is no loss");
    log.write(&chunk(OutputStream::Stdout, b"abc\ndef\n")).await;
    log.finish().await.unwrap();
    assert_eq!(
        written.frames(),
        [
            "0 stdout \"123456\\n\"",
            "7 stdout \"12\\n\"",
            "10 engine \"output ends here: an attempt may write 0 mib\\n\"",
        ]
    );
}

#[tokio::test]
async fn a_gibibyte_is_read_to_its_end_and_exactly_the_limit_is_kept() {
    let written = Written::new();
    let mut log = written.log(&[]).await.with_limit(1 << 20);
    let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
    let block: bytes::Bytes = line.repeat(64).into();
    let block = Chunk { stream: OutputStream::Stdout, bytes: block };
    let chunks = futures_util::stream::iter((0..16 << 10).map(|_| Ok(block.clone())));
    log.pump_stream(chunks).await;
    log.finish().await.unwrap();
    let frames = written.frames();
    assert_eq!(frames.len(), 65, "a MiB in pieces of 16 KiB, and the line that says so");
    assert_eq!(frames[64], "1048576 engine \"output ends here: an attempt may write 1 mib\\n\"");
}

#[tokio::test]
async fn an_error_of_the_stream_is_told_at_the_end() {
    let written = Written::new();
    let mut log = written.log(&[]).await;
    let broken = BackendError::Infrastructure { part: "engine", message: "gone".to_owned() };
    let chunks = vec![Ok(chunk(OutputStream::Stdout, b"kept\n")), Err(broken)];
    log.pump_stream(futures_util::stream::iter(chunks)).await;
    assert_eq!(log.finish().await, Err("engine: gone".to_owned()));
    assert_eq!(written.frames(), ["0 stdout \"kept\\n\""]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_who_does_not_read_holds_up_nothing_after_a_halt() {
    let written = Written::new();
    let (observer, _never_read) = mpsc::channel(1);
    let mut log = written.log_told(&[], Some(observer)).await;
    let halt = log.halt.clone();
    let lines = [&b"1\n"[..], b"2\n", b"3\n"].map(|line| Ok(chunk(OutputStream::Stdout, line)));
    tokio::join!(log.pump_stream(futures_util::stream::iter(lines)), async {
        sleep(Duration::from_secs(5)).await;
        halt.cancel();
    });
    assert_eq!(written.frames().len(), 3, "the file has it all");
}

#[tokio::test]
async fn a_follower_sees_each_frame_once_from_where_it_left_off_until_the_end() {
    let written = Written::new();
    let done = CancellationToken::new();
    let all = follow(written.path(), 0, done.clone());
    let rest = follow(written.path(), 4, done.clone());
    let write = async {
        let mut log = written.log(&[]).await;
        for line in [&b"one\n"[..], b"two\n", b"three\n"] {
            log.write(&chunk(OutputStream::Stdout, line)).await;
        }
        log.finish().await.unwrap();
        done.cancel();
    };
    let (all, rest, ()) = tokio::join!(
        all.map(|frame| shown(&frame.unwrap())).collect::<Vec<_>>(),
        rest.map(|frame| shown(&frame.unwrap())).collect::<Vec<_>>(),
        write,
    );
    assert_eq!(all, ["0 stdout \"one\\n\"", "4 stdout \"two\\n\"", "8 stdout \"three\\n\""]);
    assert_eq!(rest, all[1..]);
}

#[tokio::test]
async fn a_line_that_was_not_written_to_its_end_is_not_read() {
    let written = Written::new();
    let mut log = written.log(&[]).await;
    log.write(&chunk(OutputStream::Stdout, b"one\n")).await;
    log.write(&chunk(OutputStream::Stdout, b"two\n")).await;
    let bytes = std::fs::read(written.path()).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(written.path(), &bytes[..length]).unwrap();
        let frames = written.frames();
        assert!(frames.len() < 2 && frames.iter().all(|frame| frame == "0 stdout \"one\\n\""));
        let done = CancellationToken::new();
        done.cancel();
        let followed: Vec<_> = follow(written.path(), 0, done).collect().await;
        assert_eq!(followed.len(), frames.len());
    }
}

#[test]
fn a_file_of_a_newer_format_is_refused() {
    let written = Written::new();
    std::fs::write(written.path(), "{\"format\":2}\n").unwrap();
    let error = read_frames(&written.path()).err().unwrap();
    assert_eq!(error.to_string(), "output of format 2 is newer than this program");
}

/// What a stage says, in the order in which it says it; only the second is in no record.
fn said() -> Vec<(OutputStream, &'static [u8])> {
    vec![
        (OutputStream::Engine, b"$ make\n"),
        (OutputStream::Engine, b"no cache yet\n"),
        (OutputStream::Stdout, b"one\ntw"),
        (OutputStream::Stderr, b"\xff\xfe\nwarn s3cr3tvalue\n"),
        (OutputStream::Stdout, b"o\ns3cr3t"),
        (OutputStream::Engine, b"$ make\n"),
        (OutputStream::Stdout, b"value\nlast"),
    ]
}

async fn say_all(log: &mut AttemptLog, all: impl Iterator<Item = (OutputStream, &'static [u8])>) {
    for (stream, bytes) in all {
        log.write(&chunk(stream, bytes)).await;
    }
    log.finish().await.unwrap();
}

/// Bytes by stream, and whether every offset is the sum of what lies before.
fn streams(path: &Path) -> [Vec<u8>; 3] {
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    let mut offset = 0;
    for frame in read_frames(path).unwrap() {
        let frame = frame.unwrap();
        let bytes = match frame.body {
            FrameBody::Text(text) => text.into_bytes(),
            FrameBody::Base64(text) => STANDARD.decode(text).unwrap(),
        };
        assert_eq!(frame.offset, offset);
        offset += bytes.len() as u64;
        all[slot(frame.stream)].extend(bytes);
    }
    all
}

impl Written {
    async fn resumed(&self) -> AttemptLog {
        let masker = Arc::new(Masker::new(["s3cr3tvalue"]).unwrap());
        let halt = CancellationToken::new();
        AttemptLog::resume(self.directory.path(), "test", 1, &masker, None, halt).await.unwrap()
    }
}

#[tokio::test]
async fn a_writer_goes_on_wherever_the_one_before_it_died() {
    for limit in [OUTPUT_LIMIT, 20, 23, 30] {
        let whole = Written::new();
        let mut log = whole.log(&["s3cr3tvalue"]).await.with_limit(limit);
        say_all(&mut log, said().into_iter()).await;
        let (bytes, expected) = (std::fs::read(whole.path()).unwrap(), streams(&whole.path()));
        let written = Written::new();
        for length in 0..=bytes.len() {
            std::fs::write(written.path(), &bytes[..length]).unwrap();
            let mut log = written.resumed().await.with_limit(limit);
            // What it said itself before it died may be said again or not.
            let mut lines = bytes[..length].split_inclusive(|byte| *byte == b'\n');
            let was_said = lines.any(|line| line.ends_with(b"yet\\n\"}\n"));
            let again = length % 2 == 0 || !was_said;
            let said = said().into_iter().enumerate();
            let said = said.filter(|(at, _)| again || *at != 1).map(|(_, said)| said);
            say_all(&mut log, said).await;
            assert_eq!(streams(&written.path()), expected, "limit {limit}, byte {length}");
        }
    }
}

#[tokio::test]
async fn who_follows_never_sees_half_a_frame_that_is_taken_back() {
    let written = Written::new();
    let mut log = written.log(&[]).await;
    log.write(&chunk(OutputStream::Stdout, b"one\n")).await;
    log.write(&chunk(OutputStream::Stdout, b"two\n")).await;
    let bytes = std::fs::read(written.path()).unwrap();
    std::fs::write(written.path(), &bytes[..bytes.len() - 5]).unwrap();
    let done = CancellationToken::new();
    let follow = follow(written.path(), 0, done.clone());
    let go_on = async {
        sleep(Duration::from_millis(120)).await;
        let mut log = written.resumed().await;
        for line in [&b"one\n"[..], b"2\n", b"three\n"] {
            log.write(&chunk(OutputStream::Stdout, line)).await;
        }
        done.cancel();
    };
    let (followed, ()) =
        tokio::join!(follow.map(|frame| shown(&frame.unwrap())).collect::<Vec<_>>(), go_on);
    let expected = ["0 stdout \"one\\n\"", "4 stdout \"2\\n\"", "6 stdout \"three\\n\""];
    assert_eq!(followed, expected);
}
