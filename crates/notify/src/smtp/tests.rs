use std::sync::{Arc, Mutex};

use chrono::DateTime;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

/// A mail server that speaks as it is told and keeps what it hears.
struct FakeServer {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

/// The answer to the first command that begins so; an empty one is silence.
type Answers = &'static [(&'static str, &'static str)];

impl FakeServer {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let log = Arc::clone(&heard);
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                sessions.spawn(session(stream, answers, Arc::clone(&log)));
            }
        });
        Self { port, heard, _tasks: tasks }
    }

    fn mailer(&self) -> Mailer {
        Mailer::new(SmtpConfig {
            username: Some("shipline".into()),
            password: Some("mail-secret".into()),
            ..config(&format!("smtp://127.0.0.1:{}", self.port))
        })
        .expect("a mailer")
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").clone()
    }

    /// Commands that begin so.
    fn commands(&self, verb: &str) -> Vec<String> {
        self.heard().into_iter().filter(|line| line.starts_with(verb)).collect()
    }

    /// The one mail that was taken.
    fn mail(&self) -> String {
        let heard = self.heard();
        let mails: Vec<_> = heard.iter().filter_map(|line| line.strip_prefix("mail\n")).collect();
        assert_eq!(mails.len(), 1, "{heard:?}");
        mails[0].to_owned()
    }
}

async fn session(stream: TcpStream, answers: Answers, heard: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let answer = |command: &str, usual: &str| {
        let told = answers.iter().find(|(start, _)| command.starts_with(start));
        told.map_or(usual, |(_, answer)| answer).to_owned()
    };
    let mut say = answer("connect", "220 localhost ESMTP");
    loop {
        if say.is_empty() {
            std::future::pending::<()>().await;
        }
        if stream.get_mut().write_all(format!("{say}\r\n").as_bytes()).await.is_err() {
            return;
        }
        let mut command = String::new();
        if !matches!(stream.read_line(&mut command).await, Ok(read) if read > 0) {
            return;
        }
        let command = command.trim_end().to_owned();
        heard.lock().expect("no panic").push(command.clone());
        let usual = match command.get(..4).unwrap_or_default() {
            "EHLO" => "250-localhost\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        say = answer(&command, usual);
        if command == "DATA" && say.starts_with('3') {
            if stream.get_mut().write_all(format!("{say}\r\n").as_bytes()).await.is_err() {
                return;
            }
            let mut mail = String::new();
            while !mail.ends_with("\r\n.\r\n") {
                if !matches!(stream.read_line(&mut mail).await, Ok(read) if read > 0) {
                    return;
                }
            }
            heard.lock().expect("no panic").push(format!("mail\n{mail}"));
            say = answer("mail", "250 taken");
        }
    }
}

fn config(url: &str) -> SmtpConfig {
    SmtpConfig {
        url: url.into(),
        from: "shipline@example.net".into(),
        username: None,
        password: None,
        ca_file: None,
        timeout: Duration::from_secs(10),
    }
}

fn message(to: &[&str]) -> Message {
    Message {
        to: to.iter().map(|to| to.parse().expect("an address")).collect(),
        subject: "[orders] fixed: main #214 (3m 12s)".into(),
        text: "fixed: main #214\n.\n..\nend\n".into(),
        html: "<p>fixed</p>\n".into(),
        message_id: "<019ca8f0-1234-7000-8000-0123456789ab.9@019ca000-0000-7000-8000-00000000beef>"
            .into(),
        references: Some("<0123456789abcdef01234567@019ca000-0000-7000-8000-00000000beef>".into()),
        dedupe_key: "a".into(),
        at: DateTime::UNIX_EPOCH + Duration::from_secs(1_772_352_000),
    }
}

#[tokio::test]
async fn a_mail_arrives_whole_with_stable_ids() {
    let server = FakeServer::start(&[]).await;
    let delivered = server.mailer().send(&message(&["team@example.net"])).await.expect("sent");
    assert_eq!(delivered, Delivered::default());
    // PLAIN: nothing, user, password.
    assert_eq!(server.commands("AUTH"), ["AUTH PLAIN AHNoaXBsaW5lAG1haWwtc2VjcmV0"]);
    assert_eq!(server.commands("MAIL"), ["MAIL FROM:<shipline@example.net>"]);
    assert_eq!(server.commands("RCPT"), ["RCPT TO:<team@example.net>"]);
    let mail = server.mail();
    let (head, body) = mail.split_once("\r\n\r\n").expect("a head");
    let head: Vec<&str> = head.lines().collect();
    assert_eq!(
        head[..8],
        [
            "From: shipline@example.net",
            "Subject: [orders] fixed: main #214 (3m 12s)",
            "Date: Sun, 01 Mar 2026 08:00:00 +0000",
            "Message-ID: <019ca8f0-1234-7000-8000-0123456789ab.9@019ca000-0000-7000-8000-00000000beef>",
            "Auto-Submitted: auto-generated",
            "To: team@example.net",
            "References: <0123456789abcdef01234567@019ca000-0000-7000-8000-00000000beef>",
            "MIME-Version: 1.0",
        ]
    );
    assert!(head[8].starts_with("Content-Type: multipart/alternative;"), "{head:?}");
    // A dot that stands alone is doubled on its way and does not end the mail.
    assert!(body.contains("\r\n..\r\n...\r\nend\r\n"), "{body}");
    assert!(body.contains("<p>fixed</p>"), "{body}");
}

#[tokio::test]
async fn no_text_becomes_a_header_a_recipient_or_a_second_mail() {
    for hostile in [
        "x\r\nBcc: thief@example.net",
        "x\nBcc: thief@example.net",
        "x\r\n.\r\nMAIL FROM:<thief@example.net>\r\n",
        "x\0y",
        "\u{202e}x",
        &"x".repeat(100_000),
        &"ü ".repeat(10_000),
    ] {
        let server = FakeServer::start(&[]).await;
        let mut mail = message(&["team@example.net"]);
        mail.subject = hostile.into();
        mail.text = hostile.into();
        mail.html = hostile.into();
        server.mailer().send(&mail).await.expect("sent");
        let told: String = hostile.chars().take(40).collect();
        assert_eq!(server.commands("RCPT").len(), 1, "{told}");
        assert_eq!(server.commands("MAIL FROM").len(), 1, "{told}");
        assert_eq!(server.commands("DATA").len(), 1, "{told}");
        let mail = server.mail();
        let (head, _) = mail.split_once("\r\n\r\n").expect("a head");
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{told}: {head}");
        assert!(mail.lines().all(|line| line.len() <= 998), "{told}");
    }
}

#[tokio::test]
async fn an_id_that_could_be_more_is_refused() {
    let server = FakeServer::start(&[]).await;
    for id in ["a@b", "<a@b", "<a@b>\r\nBcc: x@y", "<a b@c>", ""] {
        let mail = Message { message_id: id.into(), ..message(&["team@example.net"]) };
        let error = server.mailer().send(&mail).await.expect_err(id);
        assert!(error.is_permanent(), "{error}");
    }
    assert_eq!(server.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn what_the_server_says_decides_whether_it_is_tried_again() {
    let table: [(Answers, &str); 9] = [
        (&[("connect", "421 too busy")], "temporary"),
        (&[("MAIL", "451 try later")], "temporary"),
        (&[("RCPT", "450 mailbox busy")], "temporary"),
        (&[("mail", "452 disk full")], "temporary"),
        (&[("RCPT", "550 no such user")], "permanent"),
        (&[("DATA", "554 no")], "permanent"),
        (&[("mail", "552 too large")], "permanent"),
        // The wrong password is mended here, and the mail waits for it.
        (&[("AUTH", "535 who are you")], "temporary"),
        (&[("EHLO", "250 localhost")], "temporary"),
    ];
    for (answers, expected) in table {
        let server = FakeServer::start(answers).await;
        let sent = server.mailer().send(&message(&["team@example.net"])).await;
        let error = sent.expect_err("refused");
        let told = if error.is_permanent() { "permanent" } else { "temporary" };
        assert_eq!(told, expected, "{answers:?}: {error}");
        let words = answers[0].1.get(4..).unwrap_or_default();
        let said = answers[0].0 == "EHLO" || error.to_string().contains(words);
        assert!(said, "{answers:?}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_address_does_not_silence_the_others() {
    let server = FakeServer::start(&[("RCPT TO:<gone@", "550 no such user")]).await;
    let mail = message(&["a@example.net", "gone@example.net", "z@example.net"]);
    let delivered = server.mailer().send(&mail).await.expect("sent");
    let refused: Vec<_> = delivered.refused.iter().map(|it| it.to.as_str()).collect();
    assert_eq!(refused, ["gone@example.net"]);
    assert!(delivered.refused[0].answer.contains("no such user"), "{delivered:?}");
    let heard = server.heard();
    let mails = heard.iter().filter(|line| line.starts_with("mail\n"));
    assert_eq!(mails.clone().count(), 2);
    // Each sees who was meant.
    assert!(
        mails.clone().all(|mail| mail.contains("To: a@example.net, gone@example.net,")),
        "{heard:?}"
    );

    let all = message(&["gone@example.net", "gone@example.org"]);
    assert!(server.mailer().send(&all).await.expect_err("refused").is_permanent());
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_is_a_reason_to_try_again() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let mailer = Mailer::new(config(&format!("smtp://127.0.0.1:{port}"))).expect("a mailer");
    let error = mailer.send(&message(&["team@example.net"])).await.expect_err("nobody there");
    assert!(!error.is_permanent(), "{error}");

    let short = |port| SmtpConfig {
        timeout: Duration::from_millis(200),
        ..config(&format!("smtp://127.0.0.1:{port}"))
    };
    for answers in [&[("connect", "")], &[("mail", "")]] as [Answers; 2] {
        let server = FakeServer::start(answers).await;
        let mailer = Mailer::new(short(server.port)).expect("a mailer");
        let error = mailer.send(&message(&["team@example.net"])).await.expect_err("silence");
        assert!(!error.is_permanent(), "{answers:?}: {error}");
    }
}

#[test]
fn a_connection_is_encrypted_unless_the_server_is_on_this_machine() {
    let encryption = |url| Server::parse(url).expect(url).encryption();
    assert_eq!(encryption("smtps://mail.example.net"), Encryption::Whole);
    assert_eq!(encryption("smtps://127.0.0.1:465"), Encryption::Whole);
    assert_eq!(encryption("smtp://mail.example.net:587"), Encryption::StartTls);
    assert_eq!(encryption("smtp://127.0.0.1.example.net"), Encryption::StartTls);
    assert_eq!(encryption("smtp://10.0.0.1:25"), Encryption::StartTls);
    for url in ["smtp://127.0.0.1:25", "smtp://localhost:25", "smtp://[::1]:25"] {
        assert_eq!(encryption(url), Encryption::IfOffered);
    }
}

#[test]
fn the_address_of_a_mail_server_is_scheme_host_and_port() {
    let place = |url| Server::parse(url).map(|server| (server.host, server.port));
    assert_eq!(place("smtp://mail.example.net"), Some(("mail.example.net".into(), 587)));
    assert_eq!(place("smtps://mail.example.net"), Some(("mail.example.net".into(), 465)));
    assert_eq!(place("smtp://[::1]:25"), Some(("::1".into(), 25)));
    for url in [
        "",
        "mail.example.net",
        "http://mail.example.net",
        "smtp://",
        "smtp://:25",
        "smtp://mail.example.net:port",
        "smtp://mail.example.net:25/",
        "smtp://user:secret@mail.example.net",
        "smtp://mail example.net",
        "smtp://[::1",
        "smtp://[::1]25",
    ] {
        assert_eq!(place(url), None, "{url}");
    }
}

#[test]
fn a_mailer_that_cannot_work_says_so_at_once() {
    let error = |config| Mailer::new(config).err().expect("refused").to_string();
    let smtp = "smtp://127.0.0.1:25";
    assert_eq!(
        error(config("mail.example.net")),
        "`mail.example.net` is not a mail server: write smtp://HOST:PORT or smtps://HOST:PORT"
    );
    let from = SmtpConfig { from: "Shipline <shipline@example.net>".into(), ..config(smtp) };
    assert_eq!(error(from), "the sender of mails is not usable");
    let half = SmtpConfig { username: Some("x".into()), ..config(smtp) };
    assert_eq!(error(half), "a user name and a password for mail belong together");
    let missing = SmtpConfig { ca_file: Some("/nonexistent/ca.pem".into()), ..config(smtp) };
    assert_eq!(error(missing), "cannot read the certificates of `/nonexistent/ca.pem`");
    let cargo = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let wrong = SmtpConfig { ca_file: Some(cargo.into()), ..config(smtp) };
    assert_eq!(error(wrong), format!("`{cargo}` holds no certificate in PEM form"));
}

#[test]
fn a_password_is_not_printed() {
    let config = SmtpConfig { password: Some("mail-secret".into()), ..config("smtp://localhost") };
    assert!(!format!("{config:?}").contains("mail-secret"));
}
