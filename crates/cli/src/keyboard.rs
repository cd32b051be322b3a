//! What is typed, or piped in, by one reader for the whole process: whoever stops listening
//! takes nothing from whoever listens next.

use std::io::Write as _;
use std::sync::LazyLock;

use tokio::sync::{Mutex, mpsc};

use crate::error::{CommandError, Context as _};

/// The longest line that is an answer.
const LONGEST: usize = 64 << 10;

static KEYBOARD: LazyLock<Mutex<Keyboard>> = LazyLock::new(|| Mutex::new(Keyboard::start()));

struct Keyboard {
    /// Asks the thread for one piece.
    ask: std::sync::mpsc::Sender<()>,
    /// An empty one is an end.
    pieces: mpsc::UnboundedReceiver<Vec<u8>>,
    /// It was asked, and has not answered.
    asked: bool,
    /// What came behind a line.
    rest: Vec<u8>,
}

impl Keyboard {
    /// The thread reads only when it is asked: what nobody waits for stays with the
    /// terminal, and with whoever has it after us. It ends with the process, since nothing
    /// can take a thread out of a read.
    fn start() -> Self {
        let (ask, asked) = std::sync::mpsc::channel();
        let (send, pieces) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while asked.recv().is_ok() {
                let read = loop {
                    match rustix::io::read(std::io::stdin(), &mut piece) {
                        Err(rustix::io::Errno::INTR) => {}
                        read => break read,
                    }
                };
                if send.send(piece[..read.unwrap_or(0)].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { ask, pieces, asked: false, rest: Vec::new() }
    }

    /// Safe to be dropped half-way: what comes then is the next one's.
    async fn piece(&mut self) -> Option<Vec<u8>> {
        if !self.rest.is_empty() {
            return Some(std::mem::take(&mut self.rest));
        }
        if !self.asked {
            self.ask.send(()).ok()?;
            self.asked = true;
        }
        let piece = self.pieces.recv().await;
        self.asked = false;
        piece.filter(|piece| !piece.is_empty())
    }
}

/// Waits for some bytes; `None` is an end, after which a terminal may go on.
pub(crate) async fn piece() -> Option<Vec<u8>> {
    KEYBOARD.lock().await.piece().await
}

/// Asks for a line; an empty one is the default. `None` is the end of what is typed.
pub(crate) async fn line(question: &str, default: &str) -> Result<Option<String>, CommandError> {
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    let typed = exact_line(&format!("{question}{shown}")).await?;
    Ok(typed.map(|text| match text.trim() {
        "" => default.to_owned(),
        text => text.to_owned(),
    }))
}

/// Asks for a line and returns it as it was typed, without its end.
pub(crate) async fn exact_line(question: &str) -> Result<Option<String>, CommandError> {
    let asked = {
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "{question}: ").and_then(|()| stderr.flush())
    };
    asked.environment("cannot ask")?;
    let mut keyboard = KEYBOARD.lock().await;
    let mut typed: Vec<u8> = Vec::new();
    loop {
        if let Some(end) = typed.iter().position(|byte| *byte == b'\n') {
            keyboard.rest = typed.split_off(end + 1);
            let text = String::from_utf8_lossy(&typed[..end]);
            return Ok(Some(text.strip_suffix('\r').unwrap_or(&text).to_owned()));
        }
        match keyboard.piece().await {
            Some(piece) if typed.len() < LONGEST => typed.extend(piece),
            _ => return Ok(None),
        }
    }
}
