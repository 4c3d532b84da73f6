//! A server in the test, and a reader.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    time::Instant,
};

use flink_worker::ProcessingTimeService;

use super::*;
use crate::source::testing::Subtask;

fn server() -> (TcpListener, SocketTextSource) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let source = SocketTextSource::new("127.0.0.1", port).retry_delay(Duration::from_millis(10));
    (listener, source)
}

fn reader(source: &SocketTextSource) -> Subtask<SocketTextSource> {
    Subtask::new(source, 0, 1, &ProcessingTimeService::manual(0)).unwrap()
}

/// Polls until the source ends, or has this many lines.
fn lines(reader: &mut Subtask<SocketTextSource>, count: usize) -> Result<Vec<String>, TaskError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut lines = Vec::new();
    while lines.len() < count && Instant::now() < deadline {
        let polled = reader.poll(2);
        lines.extend(reader.take());
        if polled?.next == Availability::End {
            break;
        }
        thread::yield_now();
    }
    Ok(lines)
}

fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

#[test]
fn lines_are_read_until_the_server_closes() {
    let (listener, source) = server();
    let mut reader = reader(&source);
    assert_eq!(reader.poll(10).unwrap().next, Availability::Later(None));
    let (mut stream, _) = listener.accept().unwrap();
    send(&mut stream, "one\r\ntw");
    assert_eq!(lines(&mut reader, 1).unwrap(), ["one"]);
    send(&mut stream, "o\n\nlast");
    drop(stream);
    assert_eq!(lines(&mut reader, 9).unwrap(), ["two", "", "last"]);
}

#[test]
fn a_line_that_is_not_utf_8_is_told_or_counted() {
    let (listener, source) = server();
    for on_error in [OnParseError::Fail, OnParseError::Skip] {
        let mut reader = reader(&source.clone().on_error(on_error));
        assert_eq!(reader.poll(10).unwrap().next, Availability::Later(None));
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"one\nd\xffw\nthree\n").unwrap();
        drop(stream);
        match lines(&mut reader, 9) {
            Err(error) => {
                assert_eq!(on_error, OnParseError::Fail);
                let expected = format!("127.0.0.1:{}:2:2: invalid UTF-8", source.port);
                assert_eq!(error.to_string(), expected);
            }
            Ok(lines) => {
                assert_eq!(
                    (lines, on_error),
                    (vec!["one".to_owned(), "three".to_owned()], OnParseError::Skip)
                );
                assert_eq!(reader.context.skipped_records().get(), 1);
            }
        }
    }
}

#[test]
fn a_character_that_the_end_cuts_is_lost_with_the_rest() {
    let (listener, source) = server();
    let mut reader = reader(&source);
    reader.poll(1).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"one\ntw\xc3").unwrap();
    drop(stream);
    assert_eq!(lines(&mut reader, 9).unwrap(), ["one", "tw"]);
}

#[test]
fn a_lost_connection_is_made_again() {
    let (listener, source) = server();
    let mut reader = reader(&source.max_retries(1));
    for text in ["a\n", "b\n", "c\n"] {
        reader.poll(1).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        send(&mut stream, text);
        assert_eq!(lines(&mut reader, 1).unwrap(), [text.trim_end()]);
    }
    // Once more, and then no more.
    drop(listener.accept().unwrap());
    assert_eq!(lines(&mut reader, 1).unwrap(), [""; 0]);
}

#[test]
fn a_server_that_is_not_there_fails_the_task() {
    let (listener, source) = server();
    drop(listener);
    let error = lines(&mut reader(&source.clone().max_retries(2)), 1).unwrap_err();
    let expected = format!(
        "could not read from 127.0.0.1:{}: Connection refused (os error 111)",
        source.port
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_reader_that_is_dropped_ends_its_thread() {
    let (listener, source) = server();
    let mut waiting = reader(&source);
    waiting.poll(1).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    drop(waiting);
    // One whose queue is full.
    let mut full = reader(&source);
    full.poll(1).unwrap();
    let (mut other, _) = listener.accept().unwrap();
    other.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    while other.write_all(&[b'\n'; 1 << 10]).is_ok() {}
    drop(full);
    assert!((0..100).any(|_| stream.write_all(b"x\n").is_err()) || stream.take_error().is_ok());
}
