//! What a check has found, and how it is shown.

use std::io::Write;

use serde_json::{Value, json};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    /// It works, and will not in some case that comes.
    Warn,
    /// Something does not work.
    Fail,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// Green, yellow, red, as terminals have them since ever.
    fn color(self) -> &'static str {
        match self {
            Self::Ok => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Fail => "\x1b[31m",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    pub level: Level,
    /// What was found, in one line; never a secret.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Check {
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), remedy: None }
    }

    pub fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// All lines.
pub struct Report(pub Vec<Check>);

impl Report {
    pub fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|check| check.level == level).count()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let check = |check: &Check| json!({"name": check.name, "level": check.level.word(), "found": check.found, "remedy": check.remedy});
        json!({
            "checks": self.0.iter().map(check).collect::<Vec<_>>(),
            "ok": self.count(Level::Ok),
            "warnings": self.count(Level::Warn),
            "failures": self.count(Level::Fail),
        })
    }

    /// For people, in columns.
    pub fn write(&self, out: &mut impl Write, colors: bool) -> std::io::Result<()> {
        let width = self.0.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let paint = |text: &str, color: &str| {
            if colors { format!("{color}{text}\x1b[0m") } else { text.to_owned() }
        };
        writeln!(out)?;
        for Check { name, level, found, remedy } in &self.0 {
            let word = paint(&format!("{:<4}", level.word()), level.color());
            writeln!(out, "  {word}  {name:<width$}  {}", one_line(found))?;
            if let Some(remedy) = remedy {
                writeln!(out, "  {:<4}  {:<width$}  {}", "", "", paint(&format!("→ {}", one_line(remedy)), "\x1b[1m"))?;
            }
        }
        let counted = |number: usize, one: &str| match number {
            1 => format!("1 {one}"),
            number => format!("{number} {one}s"),
        };
        let (warnings, failures) = (self.count(Level::Warn), self.count(Level::Fail));
        let sum = [format!("{} ok", self.count(Level::Ok)), counted(warnings, "warning"), counted(failures, "failure")];
        let worst = self.0.iter().map(|check| check.level).max().unwrap_or(Level::Ok);
        writeln!(out, "\n  {}\n", paint(&sum.join(", "), worst.color()))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(colors: bool) -> String {
        let report = Report(vec![Check::ok("Redis", "7.0\n at a:1"), Check::fail("Postgres", "gone", "start\nit")]);
        let mut out = Vec::new();
        report.write(&mut out, colors).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_columns_stand_under_each_other_and_color_is_only_where_it_is_wanted() {
        let lines = ["", "  ok    Redis     7.0 at a:1", "  fail  Postgres  gone", "                  → start it"];
        let plain = text(false);
        assert!(plain.starts_with(&lines.join("\n")), "{plain}");
        assert!(plain.ends_with("  1 ok, 0 warnings, 1 failure\n\n"), "{plain}");
        assert!(!plain.contains('\x1b') && text(true).contains("\x1b[31mfail"));
    }
}
