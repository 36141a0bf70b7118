//! How a job's last word travels on the channel of completion notices: a line `id done`, `id cancelled` or `id failed code`.

use super::Final;
use crate::ids::JobId;

/// One line, without its end.
pub(super) fn encode(id: JobId, last_word: &Final) -> String {
    match last_word {
        Final::Done => format!("{id} done"),
        Final::Cancelled => format!("{id} cancelled"),
        // A code is one word by contract; whatever else it might hold must not break the line.
        Final::Failed { code } => format!("{id} failed {}", code.split_whitespace().collect::<String>()),
    }
}

/// What a line says; `None` for one that this version does not understand.
pub(super) fn decode(line: &str) -> Option<(JobId, Final)> {
    let mut words = line.split(' ');
    let id = words.next()?.parse().ok()?;
    let last_word = match words.next()? {
        "done" => Final::Done,
        "cancelled" => Final::Cancelled,
        "failed" => Final::Failed { code: words.next()?.to_owned() },
        _ => return None,
    };
    Some((id, last_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_read_as_it_was_written() {
        for last_word in [Final::Done, Final::Cancelled, Final::Failed { code: "platform_error".into() }] {
            let id = JobId::new();
            assert_eq!(decode(&encode(id, &last_word)), Some((id, last_word)));
        }
    }

    #[test]
    fn a_line_that_is_no_notice_is_no_notice() {
        for line in
            ["", "x", "not-an-id done", &format!("{} sideways", JobId::new()), &format!("{} failed", JobId::new())]
        {
            assert_eq!(decode(line), None, "{line}");
        }
    }
}
