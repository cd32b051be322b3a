//! `shipline-testapp`: a service that can be as bad as one likes, for the deploy lab.
//!
//! It answers every request with `{version, unit, seq}` and echoes `X-Request-Id`:
//!
//! | request | does |
//! | --- | --- |
//! | `GET /health` | 200 while it is well, 503 when it is not |
//! | `POST /post` | has the witness take down the request's id, and answers then |
//! | `POST /upload` | tells length and SHA-256 of the body |
//! | `GET /socket` | a WebSocket that echoes |
//! | anything else | answers |
//!
//! With `?ms=N` it waits so long before it answers.
//! What it is like, its environment says ([`knobs::Knobs`]). On TERM it takes no more
//! connections, ends what is in flight, and exits with 0.

mod frame;
mod knobs;
mod serve;
mod socket;
mod witness;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use knobs::Knobs;
use serve::Service;
use witness::Witness;

/// How long requests in flight may take after TERM.
const LAST: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let knobs = match Knobs::read(|name| std::env::var(name).ok()) {
        Ok(knobs) => knobs,
        Err(wrong) => {
            eprintln!("testapp: {wrong}");
            return ExitCode::from(2);
        }
    };
    // One thread: three of them and a load shall fit on a small machine.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(knobs))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testapp: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut knobs: Knobs) -> std::io::Result<()> {
    // Before anything else: PID 1 without a handler is never told.
    let mut term = signal(SignalKind::terminate())?;
    tokio::time::sleep(knobs.start_delay).await;
    let witness = Witness::connect(&mut knobs).await?;
    if let Some(after) = knobs.crash_loop {
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            eprintln!("testapp: CRASH_LOOP: it crashes now");
            std::process::exit(1);
        });
    }
    let listener = TcpListener::bind(("0.0.0.0", knobs.port)).await?;
    println!("testapp {} listens on {}", knobs.version, knobs.port);
    let (ignore_term, close_on_term) = (knobs.ignore_term, knobs.close_on_term);
    let service = Arc::new(Service::new(knobs, witness));
    service.begin();
    let told = async {
        loop {
            term.recv().await;
            service.witness.say("term").await;
            if !ignore_term {
                break;
            }
            println!("testapp: IGNORE_TERM: it was told to end, and does not");
        }
        if close_on_term {
            println!("testapp: CLOSE_ON_TERM: it drops what is in flight");
            std::process::exit(0);
        }
    };
    serve::until(told, listener, &service, LAST).await;
    Ok(())
}
