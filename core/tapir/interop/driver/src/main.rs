//! A peer on top of tapir-cwtch, the Rust library by Cwtch's author, for
//! interop_test.go.
//!
//!     interop-driver dial ADDRESS HOSTNAME COUNT
//!     interop-driver listen COUNT
//!
//! makes or takes COUNT connections, one after the other, and authenticates on
//! each with a new identity (dial) or with one for all (listen). `listen` first
//! prints `listening ADDRESS HOSTNAME`. Then there is one line for each
//! connection: `ok OWN-HOSTNAME PEER-HOSTNAME` or `failed REASON`. A connection is
//! ok when it authenticated, with HOSTNAME in the case of dial, and an encrypted
//! message came back as it was sent.

use std::env;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tapir_cwtch::applications::authentication_app::{AuthenicationApp, AUTHENTICATION_CAPABILITY};
use tapir_cwtch::connections::{Connection, ConnectionInterface, InboundConnection, OutboundConnection};
use tapir_cwtch::primitives::identity::Identity;
use tapir_cwtch::primitives::transcript::Transcript;

/// Ends a run in which the other side hangs.
const TIMEOUT: Duration = Duration::from_secs(20);

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["dial", address, hostname, count] => dial(address, hostname, count.parse().expect("COUNT")),
        ["listen", count] => listen(count.parse().expect("COUNT")),
        _ => panic!("usage: interop-driver dial ADDRESS HOSTNAME COUNT | listen COUNT"),
    }
}

fn dial(address: &str, hostname: &str, count: usize) {
    for _ in 0..count {
        let identity = Arc::new(Identity::initialize_ephemeral_identity());
        let stream = with_timeout(TcpStream::connect(address).expect("connect"));
        let conn = Connection::<OutboundConnection>::new_outbound(stream);
        let mut transcript = Transcript::new_transcript("tapir-transcript");
        let result = AuthenicationApp::new(identity.clone())
            .run_outbound(conn, &mut transcript)
            .map_err(|e| format!("{:?}", e))
            // The library leaves this comparison to its user.
            .and_then(|conn| if conn.hostname() == hostname { Ok(conn) } else { Err("wrong host".to_string()) })
            .and_then(|conn| echo(conn, &identity.hostname()));
        report(result);
    }
}

fn listen(count: usize) {
    let identity = Arc::new(Identity::initialize_ephemeral_identity());
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    println!("listening {} {}", listener.local_addr().expect("address"), identity.hostname());
    for _ in 0..count {
        let stream = with_timeout(listener.accept().expect("accept").0);
        let conn = Connection::<InboundConnection>::new_inbound(stream);
        let mut transcript = Transcript::new_transcript("tapir-transcript");
        let result = AuthenicationApp::new(identity.clone())
            .run_inbound(conn, &mut transcript)
            .map_err(|e| format!("{:?}", e))
            .and_then(|conn| echo(conn, &identity.hostname()));
        report(result);
    }
}

fn with_timeout(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(TIMEOUT)).expect("set timeout");
    stream.set_write_timeout(Some(TIMEOUT)).expect("set timeout");
    stream
}

/// Sends a message, own as a JSON string, and waits for the same to come back.
fn echo<D: Clone>(mut conn: Connection<D>, own: &str) -> Result<String, String> {
    if !conn.has_capability(&AUTHENTICATION_CAPABILITY) {
        return Err("no capability".to_string());
    }
    conn.send_json_encrypted(own).map_err(|e| e.to_string())?;
    if conn.expect_encrypted() != format!("\"{}\"", own).into_bytes() {
        return Err("echo differs".to_string());
    }
    Ok(format!("{} {}", own, conn.hostname()))
}

fn report(result: Result<String, String>) {
    match result {
        Ok(hostnames) => println!("ok {}", hostnames),
        Err(reason) => println!("failed {}", reason),
    }
}
