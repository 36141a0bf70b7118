//! What is sent without a name, byte by byte.

use proptest::prelude::*;

use super::*;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out, kind, &[body]);
    out.to_vec()
}

fn startup() -> Vec<u8> {
    [&[0, 0, 0, 9][..], b"\0\x03\0\0\0"].concat()
}

/// What a driver sends that prepares a statement, uses it twice and lets it go.
fn conversation() -> Vec<u8> {
    [
        startup(),
        message(b'P', b"s1\0SELECT $1\0\0\x01\0\0\0\x17"),
        message(b'D', b"Ss1\0"),
        message(b'S', b""),
        message(b'B', b"\0s1\0\0\0\0\x01\0\0\0\x01a\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
        message(b'C', b"Ss1\0"),
        message(b'S', b""),
        message(b'Q', b"SELECT 1\0"),
    ]
    .concat()
}

fn on_the_wire() -> Vec<u8> {
    [
        startup(),
        message(b'P', b"\0SELECT $1\0\0\x01\0\0\0\x17"),
        message(b'D', b"S\0"),
        message(b'S', b""),
        message(b'P', b"\0SELECT $1\0\0\x01\0\0\0\x17"),
        message(b'B', b"\0\0\0\0\0\x01\0\0\0\x01a\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
        message(b'C', b"S\0"),
        message(b'S', b""),
        message(b'Q', b"SELECT 1\0"),
    ]
    .concat()
}

/// What Postgres answers to that, and what the driver gets to hear of it. The second exchange fails if `fails`.
fn answers(fails: bool) -> (Vec<u8>, Vec<u8>) {
    let ready = message(b'Z', b"I");
    let greeting = [message(b'R', b"\0\0\0\0"), ready.clone()].concat();
    let prepared = [message(b'1', b""), message(b't', b"\0\0"), message(b'n', b""), ready.clone()].concat();
    let used = if fails { message(b'E', b"SERROR\0\0") } else { message(b'2', b"") };
    let used = [used, ready.clone()].concat();
    let added = if fails { Vec::new() } else { message(b'1', b"") };
    let closed = [message(b'3', b""), ready.clone(), message(b'C', b"SELECT 1\0"), ready].concat();
    let sent = [greeting.clone(), prepared.clone(), added, used.clone(), closed.clone()].concat();
    (sent, [greeting, prepared, used, closed].concat())
}

fn exchanges() -> Exchanges {
    Exchanges(VecDeque::from([VecDeque::new()]))
}

proptest! {
    #[test]
    fn names_go_and_what_was_put_in_is_not_heard_of_however_the_bytes_come(
        fails in any::<bool>(),
        sizes in proptest::collection::vec(1_usize..40, 1..60),
    ) {
        let pieces = |bytes: &[u8]| {
            let mut left = bytes.to_vec();
            let mut sizes = sizes.iter().cycle();
            let mut pieces = Vec::new();
            while !left.is_empty() {
                let rest = left.split_off((*sizes.next().unwrap()).min(left.len()));
                pieces.push(std::mem::replace(&mut left, rest));
            }
            pieces
        };
        let (mut requests, mut exchanges, mut out) = (Requests::default(), exchanges(), BytesMut::new());
        for piece in pieces(&conversation()) {
            requests.take(&piece, &mut exchanges, &mut out);
        }
        prop_assert_eq!(&out[..], &on_the_wire()[..]);
        prop_assert!(requests.statements.is_empty());
        let (sent, heard) = answers(fails);
        let (mut answers, mut out) = (Answers::default(), BytesMut::new());
        for piece in pieces(&sent) {
            answers.take(&piece, &mut exchanges, &mut out);
        }
        prop_assert_eq!(&out[..], &heard[..]);
        prop_assert_eq!(exchanges.0.len(), 1);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut exchanges, mut out) = (exchanges(), BytesMut::new());
        Requests::default().take(&bytes, &mut exchanges, &mut out);
        Requests { is_started: true, ..Requests::default() }.take(&bytes, &mut exchanges, &mut out);
        Answers::default().take(&bytes, &mut exchanges, &mut out);
    }
}
