//! Health: one probe, a gate of several in a row, and a watch over a time.
//!
//! A gate ends well with `successes` good looks in a row and badly at its
//! deadline: units that start slowly answer badly for long, and only the
//! deadline knows how long is too long. `failures` belongs to the watch, which
//! judges units that have been healthy.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use event::ReleaseId;
use pipeline::{Health, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// More is no answer to a health check.
const HEAD_LIMIT: usize = 16 << 10;
/// By which a unit tells what it is: the value of its `SHIPLINE_RELEASE`.
const RELEASE_HEADER: &str = "x-shipline-release";

/// What one look at a unit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Good,
    /// Not healthy, maybe not yet.
    Bad(String),
    /// It will not become healthy any more: exited, out of memory.
    Dead(String),
    /// It says that it is another release. A unit is what it was started as, so this is
    /// final; where what runs is exchanged in place, the former may answer for a moment.
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Healthy { looks: u32, took: Duration },
    Unhealthy(String),
    Cancelled,
}

/// How a gate paces its looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) interval: Duration,
    pub(crate) successes: u32,
    pub(crate) failures: u32,
    /// From the first look to the verdict.
    pub(crate) deadline: Duration,
}

impl From<&Health> for Pace {
    fn from(health: &Health) -> Self {
        Self {
            interval: health.interval.std(),
            successes: health.successes.max(1),
            failures: health.failures.max(1),
            // The deadline begins to run after the start period.
            deadline: health.start_period.std() + health.deadline.std(),
        }
    }
}

/// Looks until a unit was good `successes` times in a row. A look that hangs is
/// ended by the deadline.
pub(crate) async fn gate<E, F: Future<Output = Result<Look, E>>>(
    pace: Pace,
    mut look: impl FnMut() -> F,
    cancel: &CancellationToken,
) -> Result<Verdict, E> {
    let begun = Instant::now();
    let deadline = begun + pace.deadline;
    let (mut looks, mut row) = (0u32, 0u32);
    let mut last = "no answer yet".to_owned();
    loop {
        let seen = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Verdict::Cancelled),
            seen = look() => seen?,
            () = tokio::time::sleep_until(deadline) => Look::Bad(last.clone()),
        };
        looks = looks.saturating_add(1);
        match seen {
            Look::Good => row += 1,
            Look::Bad(why) => (row, last) = (0, why),
            Look::Dead(why) | Look::Other(why) => return Ok(Verdict::Unhealthy(why)),
        }
        if row >= pace.successes {
            return Ok(Verdict::Healthy { looks, took: begun.elapsed() });
        }
        if Instant::now() >= deadline {
            let seconds = pace.deadline.as_secs_f64();
            let why = if row > 0 {
                format!("healthy {row} of {} times in a row after {seconds} s", pace.successes)
            } else {
                format!("{last}, still after {seconds} s")
            };
            return Ok(Verdict::Unhealthy(why));
        }
        tokio::select! {
            () = tokio::time::sleep_until((Instant::now() + pace.interval).min(deadline)) => {}
            () = cancel.cancelled() => return Ok(Verdict::Cancelled),
        }
    }
}

/// Looks for the time `length`; `failures` bad looks in a row end it.
pub(crate) async fn watch<E, F: Future<Output = Result<Look, E>>>(
    pace: Pace,
    length: Duration,
    mut look: impl FnMut() -> F,
    cancel: &CancellationToken,
) -> Result<Verdict, E> {
    let begun = Instant::now();
    let end = begun + length;
    let (mut looks, mut row) = (0u32, 0u32);
    loop {
        let seen = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Verdict::Cancelled),
            seen = look() => seen?,
        };
        looks = looks.saturating_add(1);
        match seen {
            Look::Good => row = 0,
            Look::Dead(why) | Look::Other(why) => return Ok(Verdict::Unhealthy(why)),
            Look::Bad(why) => {
                row += 1;
                if row >= pace.failures {
                    let times = if row == 1 { "once" } else { "times in a row" };
                    let count = if row == 1 { String::new() } else { format!("{row} ") };
                    return Ok(Verdict::Unhealthy(format!("{why}, {count}{times}")));
                }
            }
        }
        if Instant::now() >= end {
            return Ok(Verdict::Healthy { looks, took: begun.elapsed() });
        }
        tokio::select! {
            () = tokio::time::sleep_until((Instant::now() + pace.interval).min(end)) => {}
            () = cancel.cancelled() => return Ok(Verdict::Cancelled),
        }
    }
}

/// Asks a unit once, at its own address; `None` for a command, which only the
/// unit's target can run. An answer that names another release than `release`
/// is somebody else's.
pub(crate) async fn probe(
    probe: &Probe,
    address: IpAddr,
    release: ReleaseId,
    timeout: Duration,
) -> Option<Look> {
    let (asked, answer) = match probe {
        Probe::Http { path, port } => {
            let address = SocketAddr::new(address, *port);
            let asked = format!("GET http://{address}{path}");
            (asked, tokio::time::timeout(timeout, http_head(address, path)).await)
        }
        Probe::Tcp(port) => {
            let address = SocketAddr::new(address, *port);
            let connected = async { TcpStream::connect(address).await.map(|_| (200, None)) };
            (format!("tcp {address}"), tokio::time::timeout(timeout, connected).await)
        }
        Probe::Cmd(_) => return None,
    };
    let release = release.to_string();
    Some(match answer {
        Ok(Ok((200..=399, Some(said)))) if said != release => {
            Look::Other(format!("{asked}: release {said} answered, and {release} is wanted"))
        }
        Ok(Ok((200..=399, _))) => Look::Good,
        Ok(Ok((status, _))) => Look::Bad(format!("{asked} → {status}")),
        Ok(Err(error)) => Look::Bad(format!("{asked}: {error}")),
        Err(_) => Look::Bad(format!("{asked}: no answer within {} s", timeout.as_secs_f64())),
    })
}

/// Asks by hand: a probe reads the head of an answer, whatever follows it.
async fn http_head(address: SocketAddr, path: &str) -> std::io::Result<(u16, Option<String>)> {
    let mut stream = TcpStream::connect(address).await?;
    // Paths are from a pipeline file: nothing in them may end the request line.
    let path: String = path.chars().filter(|c| !c.is_ascii_control() && *c != ' ').collect();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let request = format!(
        "GET {slash}{path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: shipline-health\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let mut buffer = [0; 1_024];
    let is_whole = |head: &[u8]| head.windows(4).any(|end| end == b"\r\n\r\n");
    while !is_whole(&head) && head.len() < HEAD_LIMIT {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    let status = status_of(&head).ok_or_else(|| {
        std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is not HTTP")
    })?;
    Ok((status, release_of(&head)))
}

/// Reads the status out of `HTTP/1.1 200 OK`.
fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (version, rest) = line.trim_end().split_once(' ')?;
    let status = rest.split(' ').next().filter(|status| status.len() == 3)?;
    version.starts_with("HTTP/1.").then(|| status.parse().ok())?
}

/// Reads which release says that it answers.
fn release_of(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let headers = text.lines().skip(1).take_while(|line| !line.is_empty());
    let named = headers.filter_map(|line| line.split_once(':'));
    let mut values = named.filter(|(name, _)| name.eq_ignore_ascii_case(RELEASE_HEADER));
    values.next().map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    const PACE: Pace = Pace {
        interval: Duration::from_secs(1),
        successes: 3,
        failures: 2,
        deadline: Duration::from_secs(10),
    };

    const RELEASE: ReleaseId = ReleaseId::new(uuid::Uuid::from_u128(7));

    /// Looks that follow a script: `g`ood, `b`ad, `d`ead, `o`ther, `h`anging; the last repeats.
    fn script(
        script: &str,
    ) -> impl FnMut() -> std::pin::Pin<Box<dyn Future<Output = Result<Look, Infallible>>>> {
        let left: RefCell<Vec<char>> = RefCell::new(script.chars().rev().collect());
        move || {
            let mut left = left.borrow_mut();
            let next = if left.len() > 1 { left.pop() } else { left.last().copied() };
            Box::pin(async move {
                Ok(match next {
                    Some('g') => Look::Good,
                    Some('b') => Look::Bad("GET / → 500".to_owned()),
                    Some('d') => Look::Dead("exited with 1".to_owned()),
                    Some('o') => Look::Other("release 2 answered".to_owned()),
                    _ => std::future::pending().await,
                })
            })
        }
    }

    async fn gated(looks: &str) -> Verdict {
        let Ok(verdict) = gate(PACE, script(looks), &CancellationToken::new()).await;
        verdict
    }

    async fn watched(looks: &str) -> Verdict {
        let length = Duration::from_secs(5);
        let Ok(verdict) = watch(PACE, length, script(looks), &CancellationToken::new()).await;
        verdict
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_wants_successes_in_a_row() {
        let took = Duration::from_secs(2);
        assert_eq!(gated("g").await, Verdict::Healthy { looks: 3, took });
        let took = Duration::from_secs(6);
        assert_eq!(gated("bggbg").await, Verdict::Healthy { looks: 7, took });
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_ends_at_its_deadline_even_when_a_look_hangs() {
        let bad = Verdict::Unhealthy("GET / → 500, still after 10 s".to_owned());
        assert_eq!(gated("b").await, bad);
        assert_eq!(gated("gbh").await, bad);
        let begun = Instant::now();
        let none = Verdict::Unhealthy("no answer yet, still after 10 s".to_owned());
        assert_eq!(gated("h").await, none);
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        let late = Verdict::Unhealthy("healthy 2 of 3 times in a row after 10 s".to_owned());
        assert_eq!(gated("bbbbbbbbbg").await, late);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_unit_fails_its_gate_at_once() {
        let begun = Instant::now();
        assert_eq!(gated("ggd").await, Verdict::Unhealthy("exited with 1".to_owned()));
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn another_release_is_refused_at_its_first_answer() {
        let begun = Instant::now();
        let other = Verdict::Unhealthy("release 2 answered".to_owned());
        assert_eq!(gated("o").await, other);
        assert_eq!(watched("o").await, other);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_forgives_single_failures() {
        let took = Duration::from_secs(5);
        assert_eq!(watched("gbgbg").await, Verdict::Healthy { looks: 6, took });
        let bad = Verdict::Unhealthy("GET / → 500, 2 times in a row".to_owned());
        assert_eq!(watched("gbb").await, bad);
        assert_eq!(watched("gd").await, Verdict::Unhealthy("exited with 1".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_it_is_cancelled() {
        let cancel = CancellationToken::new();
        let (verdict, ()) = tokio::join!(gate(PACE, script("h"), &cancel), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            cancel.cancel();
        });
        assert_eq!(verdict, Ok(Verdict::Cancelled));
        let verdict = watch(PACE, Duration::from_secs(60), script("g"), &cancel).await;
        assert_eq!(verdict, Ok(Verdict::Cancelled));
    }

    /// Answers one connection, and returns what was asked with what the probe saw.
    async fn probed(answer: &'static str, path: &str) -> (String, Look) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Probe::Http { path: path.to_owned(), port };
        let unit = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        let timeout = Duration::from_secs(5);
        let (request, look) =
            tokio::join!(unit, probe(&asked, IpAddr::V4(Ipv4Addr::LOCALHOST), RELEASE, timeout));
        let look = look.unwrap();
        let line = request.lines().next().unwrap_or_default().to_owned();
        let look = match look {
            Look::Bad(why) => Look::Bad(why.replace(&format!(":{port}"), "")),
            Look::Other(why) => Look::Other(why.replace(&format!(":{port}"), "")),
            look => look,
        };
        (line, look)
    }

    #[tokio::test]
    async fn http_is_healthy_from_200_to_399() {
        let (asked, look) = probed("HTTP/1.1 204 No Content\r\n\r\n", "/healthz?full=1").await;
        assert_eq!((asked.as_str(), look), ("GET /healthz?full=1 HTTP/1.1", Look::Good));
        assert_eq!(probed("HTTP/1.0 399\n", "/").await.1, Look::Good);
        let bad = |status: u16| Look::Bad(format!("GET http://127.0.0.1/ → {status}"));
        assert_eq!(probed("HTTP/1.1 400 Bad Request\r\n\r\n", "/").await.1, bad(400));
        assert_eq!(probed("HTTP/1.1 199 Odd\r\n\r\n", "/").await.1, bad(199));
    }

    #[tokio::test]
    async fn what_is_not_http_is_not_healthy() {
        let bad = Look::Bad("GET http://127.0.0.1/: the answer is not HTTP".to_owned());
        for answer in ["", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1\r\n"] {
            assert_eq!(probed(answer, "/").await.1, bad, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_path_cannot_add_to_the_request() {
        let (asked, _) = probed("HTTP/1.1 200 OK\r\n", "health HTTP/1.0\r\nX: y").await;
        assert_eq!(asked, "GET /healthHTTP/1.0X:y HTTP/1.1");
    }

    #[tokio::test]
    async fn tcp_is_healthy_when_the_connection_is_accepted() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let timeout = Duration::from_secs(5);
        let asked = Probe::Tcp(port);
        assert_eq!(probe(&asked, localhost, RELEASE, timeout).await, Some(Look::Good));
        drop(listener);
        let refused = probe(&asked, localhost, RELEASE, timeout).await;
        assert!(matches!(refused, Some(Look::Bad(_))));
    }

    #[tokio::test]
    async fn an_answer_of_another_release_is_not_the_units() {
        let own =
            "HTTP/1.1 200 OK\r\nX-Shipline-Release: 00000000-0000-0000-0000-000000000007\r\n\r\n";
        assert_eq!(probed(own, "/").await.1, Look::Good);
        let other = probed("HTTP/1.1 200 OK\r\nx-shipline-release: 6\r\n\r\nhi", "/").await.1;
        let bad = "GET http://127.0.0.1/: release 6 answered, and \
                   00000000-0000-0000-0000-000000000007 is wanted";
        assert_eq!(other, Look::Other(bad.to_owned()));
        // What the body says is the application's business.
        let body = "HTTP/1.1 200 OK\r\n\r\nx-shipline-release: 6\r\n";
        assert_eq!(probed(body, "/").await.1, Look::Good);
    }
}
