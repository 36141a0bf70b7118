//! A terminal's other screen, drawn over in place.

use std::io::{Write as _, stdout};

/// The other screen, without wrapped lines and without the cursor; what was there before is back when it is dropped.
pub struct Screen(());

impl Screen {
    pub fn open() -> std::io::Result<Self> {
        write("\x1b[?1049h\x1b[?7l\x1b[?25l\x1b[2J")?;
        Ok(Self(()))
    }

    /// Draws the lines over what is there: line by line and at once, so that nothing flickers. What does not fit is left out.
    #[expect(clippy::unused_self, reason = "only who has the screen may draw on it")]
    pub fn draw(&self, lines: &[String]) -> std::io::Result<()> {
        let rows = usize::from(console::Term::stdout().size().0).max(2);
        let shown = if lines.len() > rows { rows - 1 } else { lines.len() };
        // Between these two a terminal that can holds its picture.
        let mut frame = String::from("\x1b[?2026h\x1b[H");
        for (number, line) in lines.iter().take(shown).enumerate() {
            if number > 0 {
                frame.push_str("\r\n");
            }
            // Cleared first: at the end of a full line the last column would go.
            frame.push_str("\x1b[K");
            frame.push_str(line);
        }
        if shown < lines.len() {
            frame.push_str("\r\n\x1b[K…");
        }
        if lines.len() < rows {
            frame.push_str("\r\n\x1b[J");
        }
        frame.push_str("\x1b[?2026l");
        write(&frame)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to give back.
        let _ = write("\x1b[?25h\x1b[?7h\x1b[?1049l");
    }
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
