//! Mails that are late, refused, or of a server that has no way to send them.

use chrono::TimeDelta;
use serde_json::json;
use store::{OutboxState, QueuedMail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::tests::Lab;

/// A mail server that answers `RCPT` with each of `answers`, then with 250, and
/// hands on what it took.
struct FakeSmtp {
    port: u16,
    taken: mpsc::UnboundedReceiver<String>,
    _tasks: JoinSet<()>,
}

impl FakeSmtp {
    async fn start(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        // Unbounded: a test sends a handful.
        let (take, taken) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut answers = answers.iter().copied();
            while let Ok((stream, _)) = listener.accept().await {
                converse(stream, &mut answers, &take).await;
            }
        });
        Self { port, taken, _tasks: tasks }
    }

    fn post(&self) -> Post {
        let smtp = format!(
            "[smtp]\nurl = \"smtp://127.0.0.1:{}\"\nfrom = \"ci@example.net\"\n",
            self.port
        );
        let config =
            crate::config::load(&smtp, std::path::Path::new("server.toml")).expect("valid");
        Post::of(&config).expect("usable")
    }
}

async fn converse(
    stream: TcpStream,
    answers: &mut impl Iterator<Item = &'static str>,
    take: &mpsc::UnboundedSender<String>,
) {
    let mut stream = BufReader::new(stream);
    let mut answer = "220 fake\r\n".to_owned();
    let mut mail: Option<String> = None;
    loop {
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            match &mut mail {
                Some(text) if line != ".\r\n" => text.push_str(&line),
                _ => break,
            }
        }
        if let Some(text) = mail.take() {
            take.send(text).expect("the test listens");
            answer = "250 taken\r\n".to_owned();
            continue;
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        answer = match verb.as_str() {
            "RCPT" => format!("{}\r\n", answers.next().unwrap_or("250 ok")),
            "DATA" => {
                mail = Some(String::new());
                "354 go on\r\n".to_owned()
            }
            "QUIT" => "221 bye\r\n".to_owned(),
            _ => "250 ok\r\n".to_owned(),
        };
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

async fn queue(lab: &Lab) {
    let message = json!({
        "to": ["team@example.net"], "subject": "[orders] failed: main #1", "text": "text", "html": "<p>text</p>",
        "message_id": "<1.7@instance>", "dedupe_key": "<1.7@instance>", "at": at(0),
    });
    let mail = QueuedMail {
        kind: "mail".to_owned(),
        dedupe_key: "1.7".to_owned(),
        payload: message,
        at: at(0),
    };
    lab.app.store.append(&[], &[mail]).await.expect("queued");
}

async fn row(lab: &Lab) -> OutboxRow {
    lab.app.store.outbox(10).await.expect("read").remove(0)
}

#[tokio::test]
async fn a_mail_that_was_not_taken_is_tried_again_when_its_time_has_come() {
    let mut smtp = FakeSmtp::start(&["451 later"]).await;
    let lab = Lab::with(Default::default(), smtp.post()).await;
    queue(&lab).await;
    deliver_due(&lab.app, at(0)).await.expect("tried");
    let late = row(&lab).await;
    assert_eq!((late.state, late.attempts, late.next_at), (OutboxState::Pending, 1, at(10)));
    let shown = lab.get("/api/v1/outbox").await.json();
    assert_eq!(
        (&shown[0]["state"], &shown[0]["to"], &shown[0]["subject"]),
        (&json!("pending"), &json!(["team@example.net"]), &json!("[orders] failed: main #1"))
    );
    assert!(
        shown[0]["last_error"].as_str().is_some_and(|error| error.contains("later")),
        "{shown:#}"
    );

    deliver_due(&lab.app, at(9)).await.expect("nothing due");
    assert_eq!(row(&lab).await.attempts, 1);
    deliver_due(&lab.app, at(10)).await.expect("tried");
    let sent = row(&lab).await;
    assert_eq!((sent.state, sent.attempts, sent.sent_at), (OutboxState::Sent, 2, Some(at(10))));
    let mail = smtp.taken.recv().await.expect("a mail");
    assert!(mail.contains("Message-ID: <1.7@instance>"), "{mail}");
    assert!(smtp.taken.try_recv().is_err(), "once");
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_given_up_and_stays_visible() {
    let smtp = FakeSmtp::start(&["550 no such user", "550 no such user"]).await;
    let lab = Lab::with(Default::default(), smtp.post()).await;
    queue(&lab).await;
    deliver_due(&lab.app, at(0)).await.expect("tried");
    let dead = row(&lab).await;
    assert_eq!((dead.state, dead.attempts), (OutboxState::Dead, 1));
    assert!(dead.last_error.is_some_and(|error| error.contains("no such user")));
    assert_eq!(lab.get("/api/v1/outbox").await.json()[0]["next_at"], json!(null));
}

#[tokio::test]
async fn a_mail_server_that_is_away_for_three_days_loses_the_mail_and_not_before() {
    // A port that nobody listens on any more.
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a socket")
        .local_addr()
        .expect("an address")
        .port();
    let smtp = format!("[smtp]\nurl = \"smtp://127.0.0.1:{port}\"\nfrom = \"ci@example.net\"\n");
    let config = crate::config::load(&smtp, std::path::Path::new("server.toml")).expect("valid");
    let lab = Lab::with(Default::default(), Post::of(&config).expect("usable")).await;
    queue(&lab).await;
    let mut now = at(0);
    while row(&lab).await.state == OutboxState::Pending {
        deliver_due(&lab.app, now).await.expect("tried");
        now = now.max(row(&lab).await.next_at);
    }
    let days = (now - at(0)).num_seconds() as f64 / 86_400.0;
    assert!((3.0..3.1).contains(&days), "given up after {days} days");
}

#[tokio::test]
async fn without_a_mail_server_mails_wait_and_say_why() {
    let lab = Lab::new().await;
    queue(&lab).await;
    deliver_due(&lab.app, at(0)).await.expect("tried");
    let waiting = row(&lab).await;
    assert_eq!(waiting.state, OutboxState::Pending);
    assert!(
        waiting.last_error.is_some_and(|error| error.contains("the configuration has no [smtp]"))
    );
}

#[tokio::test]
async fn the_end_of_a_run_is_mailed_once_with_what_failed() {
    let mut smtp = FakeSmtp::start(&[]).await;
    let backend = runner::backend::fake::FakeBackend::default()
        .with("hello", runner::backend::fake::Script::exit(3).printing("it broke here\n"));
    let mut lab = Lab::with(backend, smtp.post()).await;
    lab.start();
    let repository = lab.orders().await;
    let pipeline = "image: busybox:1\nstages:\n  hello: make\nnotify: { mail: { to: [team@example.net], on: [failed] } }\n";
    repository.commit_and_push(&[(".shipline.yml", pipeline)]);
    lab.look("orders").await;
    let mail = tokio::time::timeout(Duration::from_secs(30), smtp.taken.recv()).await;
    let mail = mail.expect("in time").expect("a mail");
    for part in ["Subject: [orders]", "main #1", "it broke here", "a change", "Ada"] {
        assert!(mail.contains(part), "no {part:?} in {mail}");
    }
    lab.stop().await;
    assert!(smtp.taken.try_recv().is_err(), "once");
}
