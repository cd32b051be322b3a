//! Delivery of one message over SMTP.
//!
//! A connection is encrypted or not made: `smtps://` from the first byte,
//! `smtp://` by STARTTLS, without which only a server on this machine is spoken to.

mod header;
mod server;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lettre::address::Envelope;
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use self::header::{AutoSubmitted, MessageId};
use self::server::{Encryption, Server};
use crate::{Address, Message, text};

#[derive(Clone)]
pub struct SmtpConfig {
    /// `smtp://HOST[:PORT]` or `smtps://HOST[:PORT]`.
    pub url: String,
    pub from: String,
    pub username: Option<String>,
    pub password: Option<String>,
    /// Trusted besides the well-known authorities.
    pub ca_file: Option<PathBuf>,
    /// For a whole delivery, from connecting to the last answer.
    pub timeout: Duration,
}

/// Sends messages to one mail server as one sender.
#[derive(Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Address,
    timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    #[error("`{0}` is not a mail server: write smtp://HOST:PORT or smtps://HOST:PORT")]
    Url(String),
    #[error("the sender of mails is not usable")]
    From(#[source] crate::AddressError),
    #[error("a user name and a password for mail belong together")]
    Credentials,
    #[error("cannot read the certificates of `{}`", path.display())]
    CaFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` holds no certificate in PEM form", path.display())]
    NoCertificate { path: PathBuf },
    #[error("TLS for mail cannot be set up")]
    Tls(#[source] lettre::transport::smtp::Error),
}

/// What became of a message that was taken by somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Recipients the server did not take, with its words.
    pub refused: Vec<Refused>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub to: Address,
    pub answer: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The same message would be refused again.
    #[error("the mail server refused it for good: {0}")]
    Permanent(String),
    /// Later it may work: the server is away, busy, or set up wrongly here or there.
    #[error("the mail server did not take it: {0}")]
    Temporary(String),
}

impl SendError {
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::Permanent(_))
    }
}

impl Mailer {
    pub fn new(config: SmtpConfig) -> Result<Self, MailerError> {
        let from = config.from.parse().map_err(MailerError::From)?;
        let server = Server::parse(&config.url).ok_or(MailerError::Url(config.url))?;
        let certificates = match &config.ca_file {
            Some(path) => certificates(path)?,
            None => Vec::new(),
        };
        let parameters = certificates
            .into_iter()
            .fold(TlsParameters::builder(server.host.clone()), |builder, certificate| {
                builder.add_root_certificate(certificate)
            })
            .build_rustls()
            .map_err(MailerError::Tls)?;
        let tls = match server.encryption() {
            Encryption::Whole => Tls::Wrapper(parameters),
            Encryption::StartTls => Tls::Required(parameters),
            Encryption::IfOffered => Tls::Opportunistic(parameters),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .tls(tls)
            .timeout(Some(config.timeout));
        match (config.username, config.password) {
            (Some(username), Some(password)) => {
                builder = builder.credentials(Credentials::new(username, password));
            }
            (None, None) => {}
            _ => return Err(MailerError::Credentials),
        }
        Ok(Self { transport: builder.build(), from, timeout: config.timeout })
    }

    /// Delivers `message` to all its recipients. Where the server takes it for
    /// some and refuses others for good, it is delivered, and says to whom not:
    /// one wrong address does not silence a team.
    pub async fn send(&self, message: &Message) -> Result<Delivered, SendError> {
        let mail = self.format(message)?;
        match self.deliver(&message.to, &mail).await {
            Ok(()) => return Ok(Delivered::default()),
            Err(error) if !error.is_permanent() || message.to.len() < 2 => return Err(error),
            // Nobody has it yet: a refusal of one is a refusal of the whole.
            Err(_) => {}
        }
        let mut refused = Vec::new();
        for to in &message.to {
            if let Err(error) = self.deliver(std::slice::from_ref(to), &mail).await {
                refused.push((to, error));
            }
        }
        if refused.len() < message.to.len() {
            // A temporary refusal is told like a lasting one here: trying again
            // would send a second mail to those who have it.
            let told = |(to, error): (&Address, SendError)| Refused {
                to: to.clone(),
                answer: error.to_string(),
            };
            return Ok(Delivered { refused: refused.into_iter().map(told).collect() });
        }
        // All were refused; as long as one of them may be taken later, so may the message.
        let temporary = refused.iter().position(|(_, error)| !error.is_permanent());
        Err(refused.swap_remove(temporary.unwrap_or(0)).1)
    }

    async fn deliver(&self, to: &[Address], mail: &[u8]) -> Result<(), SendError> {
        let to = to.iter().map(mailbox_address).collect::<Result<_, _>>()?;
        let envelope = Envelope::new(Some(mailbox_address(&self.from)?), to)
            .map_err(|error| SendError::Permanent(error.to_string()))?;
        // The transport's own limit is for connecting only.
        match tokio::time::timeout(self.timeout, self.transport.send_raw(&envelope, mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => {
                let seconds = self.timeout.as_secs();
                Err(SendError::Temporary(format!("no answer within {seconds} s")))
            }
        }
    }

    /// The mail as bytes; equal messages are equal but for the MIME boundary.
    fn format(&self, message: &Message) -> Result<Vec<u8>, SendError> {
        let mut builder = lettre::Message::builder()
            .from(Mailbox::new(None, mailbox_address(&self.from)?))
            .subject(text::sentence(&message.subject))
            .date(SystemTime::from(message.at))
            .header(MessageId::new("Message-ID", &message.message_id)?)
            .header(AutoSubmitted);
        for to in &message.to {
            builder = builder.to(Mailbox::new(None, mailbox_address(to)?));
        }
        if let Some(references) = &message.references {
            let id = MessageId::new("References", references)?;
            builder = builder.raw_header(id.value("References"));
        }
        let body = MultiPart::alternative_plain_html(message.text.clone(), message.html.clone());
        let mail =
            builder.multipart(body).map_err(|error| SendError::Permanent(error.to_string()))?;
        Ok(mail.formatted())
    }
}

impl fmt::Debug for SmtpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpConfig")
            .field("url", &self.url)
            .field("from", &self.from)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("ca_file", &self.ca_file)
            .field("timeout", &self.timeout)
            .finish()
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, MailerError> {
    let read = |source| MailerError::CaFile { path: path.to_owned(), source };
    let none = || MailerError::NoCertificate { path: path.to_owned() };
    let pem = std::fs::read(path).map_err(read)?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(none());
    }
    // One value holds all certificates of the file.
    Certificate::from_pem(&pem).map(|certificate| vec![certificate]).map_err(|_| none())
}

fn mailbox_address(address: &Address) -> Result<lettre::Address, SendError> {
    address
        .as_str()
        .parse()
        .map_err(|error| SendError::Permanent(format!("`{address}` cannot be used: {error}")))
}

fn classify(error: &lettre::transport::smtp::Error) -> SendError {
    let said = error.to_string();
    // A wrong password is this server's to mend, and no property of the message.
    let login = error.status().is_some_and(|code| matches!(u16::from(code), 530 | 534 | 535 | 538));
    match error.is_permanent() && !login {
        true => SendError::Permanent(said),
        false => SendError::Temporary(said),
    }
}

#[cfg(test)]
mod tests;
