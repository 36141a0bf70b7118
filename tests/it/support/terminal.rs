//! A terminal of a test's own: a program on it draws as for people, and the test sees what they would.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::str::Chars;
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

use super::process::program;

const COLUMNS: u16 = 80;

/// A terminal of 80 columns with a program on it.
pub struct Terminal {
    child: Child,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `metriqlab ARGUMENTS…` on a terminal of so many rows.
    pub fn start(rows: u16, arguments: &[&str], variables: &[(String, String)], folder: &Path) -> Self {
        let size = Winsize { ws_row: rows, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).expect("a terminal");
        let end = || Stdio::from(pair.slave.try_clone().expect("one more handle"));
        let mut command = program(arguments, variables, folder);
        command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end()).kill_on_drop(true);
        let child = command.spawn().expect("start the program");
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut master, to) = (File::from(pair.master), Arc::clone(&written));
        // It ends when no program has the terminal any more: then there is nothing to read, or an error says so.
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(size @ 1..) = master.read(&mut chunk) {
                to.lock().expect("what was written").extend_from_slice(&chunk[..size]);
            }
        });
        Self { child, written }
    }

    /// Sends a signal, as the terminal does at a key.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("a process that runs");
        kill(Pid::from_raw(i32::try_from(id).expect("a pid")), signal).expect("signal the process");
    }

    /// Waits for the program's end.
    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.expect("wait for the process")
    }

    /// What was written to it so far, with what moves the cursor and colours.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().expect("what was written")).into_owned()
    }

    /// What it shows.
    pub fn picture(&self) -> Picture {
        Picture::of(&self.written())
    }
}

/// What a terminal shows after what was written to it. As much of ECMA-48 and of xterm's additions as the program uses; what it
/// does not know fails the test.
#[derive(Debug, Default, Clone)]
pub struct Picture {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// The first screen, while the other one is shown.
    first: Option<Box<Picture>>,
}

impl Picture {
    pub fn of(written: &str) -> Self {
        let mut picture = Self::default();
        let mut letters = written.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\x1b' => picture.escape(&mut letters),
                '\r' => picture.column = 0,
                '\n' => picture.row += 1,
                letter => picture.put(letter),
            }
        }
        picture
    }

    /// The rows, without the blanks at their ends and without the empty ones at the end.
    pub fn lines(&self) -> Vec<String> {
        let rows = self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        let mut lines: Vec<String> = rows.collect();
        lines.truncate(lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
        lines
    }

    /// Whether it is the screen that leaves no trace on the first one.
    pub fn is_other_screen(&self) -> bool {
        self.first.is_some()
    }

    fn put(&mut self, letter: char) {
        if self.column == usize::from(COLUMNS) {
            (self.row, self.column) = (self.row + 1, 0);
        }
        let column = self.column;
        let row = self.line();
        if row.len() <= column {
            row.resize(column + 1, ' ');
        }
        row[column] = letter;
        self.column += 1;
    }

    /// The cursor's row.
    fn line(&mut self) -> &mut Vec<char> {
        if self.rows.len() <= self.row {
            self.rows.resize(self.row + 1, Vec::new());
        }
        &mut self.rows[self.row]
    }

    fn escape(&mut self, letters: &mut Chars<'_>) {
        let mut code: String = letters.by_ref().take(1).collect();
        assert!(code.is_empty() || code == "[", "ESC {code} is not known");
        for letter in letters.by_ref() {
            code.push(letter);
            if letter.is_ascii_alphabetic() {
                return self.control(&code[1..]);
            }
        }
    }

    fn control(&mut self, code: &str) {
        let (parameter, end) = code.split_at(code.len() - 1);
        let number = parameter.parse().unwrap_or(1);
        let column = self.column;
        match (parameter, end) {
            (_, "m") | ("?7" | "?25" | "?2026", "h" | "l") => {}
            (_, "A") => self.row = self.row.saturating_sub(number),
            (_, "B") => self.row += number,
            ("", "H") => (self.row, self.column) = (0, 0),
            ("", "K") => self.line().truncate(column),
            ("2", "K") => self.line().clear(),
            ("" | "0", "J") => {
                self.line().truncate(column);
                self.rows.truncate(self.row + 1);
            }
            ("2", "J") => self.rows.clear(),
            ("?1049", "h") => *self = Self { first: Some(Box::new(std::mem::take(self))), ..Self::default() },
            ("?1049", "l") => *self = self.first.take().map_or_else(Self::default, |first| *first),
            _ => panic!("CSI {code} is not known"),
        }
    }
}
