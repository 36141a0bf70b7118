//! What people see who run the commands that draw on a terminal.

use nix::sys::signal::Signal;

use crate::support::terminal::{Picture, Terminal};
use crate::support::{System, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_that_is_followed_draws_one_bar_in_place() {
    let mut system = System::builder().set("METRIQLAB_RESYNC_EVERY", "off").start().await;
    for _ in 0..3 {
        system.connect(&system.sandbox.user(1).await).await;
    }
    system.settled().await;
    system.workers[0].terminate().await;
    let arguments = ["resync", "--project", "test", "--follow"];
    let mut terminal = Terminal::start(24, &arguments, &system.variables, system.folder.path());
    let bars = |picture: &Picture| -> Vec<String> {
        picture.lines().into_iter().filter(|line| line.contains(" %  ")).collect()
    };
    eventually("an empty bar", async || {
        let bars = bars(&terminal.picture());
        bars.first().is_some_and(|bar| bar.starts_with("  0 %  ") && bar.ends_with("  0 of 3")).then_some(())
    })
    .await;
    system.add_worker();
    assert!(terminal.ended().await.success());
    let said = eventually("the last word", async || {
        let lines = terminal.picture().lines();
        lines.last().is_some_and(|line| line.starts_with("3 done, 0 failed, 0 skipped, in ")).then_some(lines)
    })
    .await;
    let [batch, bar, below, _] = &said[..] else { panic!("{said:#?}") };
    assert!(batch.starts_with("batch ") && batch.ends_with("  3 creators"), "{said:#?}");
    assert!(bar.starts_with("100 %  █") && bar.ends_with("█  3 of 3"), "{said:#?}");
    assert!(below.starts_with("       0 running"), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_draws_over_itself_and_leaves_the_last_frame_behind() {
    let system = System::builder().apis(0).start().await;
    let watch = |rows| Terminal::start(rows, &["status", "--watch"], &system.variables, system.folder.path());
    let (mut terminal, mut small) = (watch(40), watch(8));
    let bulk = |picture: &Picture, state: &str| {
        let lines = picture.lines();
        let rows: Vec<usize> = (0..lines.len()).filter(|row| lines[*row].starts_with("bulk ")).collect();
        let [row] = rows[..] else { return None };
        let is_whole = lines[0].starts_with("MetriqLab ") && lines.last()? == "ctrl-C ends";
        (lines[row].contains(state) && is_whole && picture.is_other_screen()).then_some(row)
    };
    let row = eventually("a frame", async || bulk(&terminal.picture(), " open ")).await;
    system.run(&["queue", "pause", "bulk"]).await;
    let later = eventually("a later frame in its place", async || bulk(&terminal.picture(), " paused ")).await;
    assert_eq!(later, row);
    assert!(terminal.written().contains("\x1b[33mpaused"), "colours are for terminals");
    eventually("a frame that is cut where the terminal ends", async || {
        let lines = small.picture().lines();
        let is_cut = lines.len() == 8 && lines[0].starts_with("MetriqLab ") && lines[7] == "…";
        // Its looks are its own: the one that it ends with is to be a later one, too.
        (is_cut && lines.iter().any(|line| line.starts_with("bulk    paused"))).then_some(())
    })
    .await;
    for terminal in [&mut terminal, &mut small] {
        terminal.signal(Signal::SIGINT);
        assert!(terminal.ended().await.success());
        eventually("the last frame on the first screen", async || {
            let picture = terminal.picture();
            let lines = picture.lines();
            let is_there =
                lines.first()?.starts_with("MetriqLab ") && lines.iter().any(|line| line.starts_with("bulk    paused"));
            (is_there && !picture.is_other_screen() && !lines.iter().any(|line| line == "ctrl-C ends")).then_some(())
        })
        .await;
    }
}

#[test]
fn a_picture_is_what_is_left_of_what_was_written() {
    let lines = |written: &str| Picture::of(written).lines();
    assert_eq!(lines("one\r\ntwo\r\x1b[2Kthree\r\n"), ["one", "three"]);
    assert_eq!(lines("one\r\ntwo\x1b[1A\r\x1b[31mThree\x1b[0m\x1b[K"), ["Three", "two"]);
    assert_eq!(lines(&"x".repeat(81)), ["x".repeat(80), "x".to_owned()]);
    assert_eq!(lines("first\x1b[?1049hother\r\nlines\x1b[H\x1b[Jleft"), ["left"]);
    assert_eq!(lines("first\x1b[?1049hother\x1b[?1049l"), ["first"]);
}
