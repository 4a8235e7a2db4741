//! Plays the agent for the tests of the harness: prints its arguments, and answers the second question about
//! readiness with yes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use anyhow::{Result, ensure};

/// Set to `broken` by a test that wants an agent which does not come up.
const MODE: &str = "MESH_TEST_DOUBLE";

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    println!("{}", arguments.join(" "));
    ensure!(
        !std::env::var(MODE).is_ok_and(|mode| mode == "broken"),
        "broken as told"
    );
    let listener = TcpListener::bind("127.0.0.1:15021")?;
    for number in 0.. {
        let (mut stream, _) = listener.accept()?;
        let head = BufReader::new(&stream)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty());
        ensure!(head.count() > 1, "no request");
        let answer = if number == 0 {
            "503 Wait\r\n\r\npods"
        } else {
            "200 OK\r\n\r\nready"
        };
        write!(stream, "HTTP/1.1 {answer}")?;
    }
    Ok(())
}
