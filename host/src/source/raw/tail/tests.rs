//! Files that are written, renamed, copied, cut and replaced under the eyes of a reader, and while it is away.

use std::fs::{self, OpenOptions};
use std::io::Write;

use super::rotation::KNOWN_BYTES;
use super::*;
use crate::source::raw::frame::{FrameFault, FramePiece, RawFraming};
use crate::source::raw::{KnownOfPeer, PeerTopic};

/// A folder, its reader, and what that has read.
struct Scene {
    folder: tempfile::TempDir,
    pattern: FilePattern,
    framing: RawFraming,
    reader: TailReader,
    now: Instant,
    /// Lines, in the order in which they came.
    lines: Vec<String>,
    letters: Vec<FrameFault>,
    /// Up to where each file is read, as it is noted.
    places: BTreeMap<u64, ReadPlace>,
    problems: Vec<TailProblem>,
}

fn scene_of(name: &str, framing: RawFraming) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let pattern = FilePattern::parse(folder.path().join(name).to_str().unwrap()).unwrap();
    let mut scene = Scene {
        reader: reader(&pattern, &framing, Vec::new()),
        folder,
        pattern,
        framing,
        now: Instant::now(),
        lines: Vec::new(),
        letters: Vec::new(),
        places: BTreeMap::new(),
        problems: Vec::new(),
    };
    scene.read();
    scene
}

fn scene(name: &str) -> Scene {
    scene_of(name, RawFraming::Line)
}

fn reader(pattern: &FilePattern, framing: &RawFraming, known: Vec<ReadPlace>) -> TailReader {
    let topic = PeerTopic::parse("log/{file}", KnownOfPeer::File).unwrap();
    TailReader::new(pattern.clone(), (framing.clone(), topic), 100, known)
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn add(&self, name: &str, text: &str) {
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Waits until what is written has another time than what was written before: no rotation is faster.
    fn let_time_pass(&self) {
        let time = |name: &str| {
            fs::write(self.path(name), "").unwrap();
            fs::metadata(self.path(name)).unwrap().modified().unwrap()
        };
        let before = time("probe");
        while time("probe") == before {
            std::thread::yield_now();
        }
    }

    /// As `copytruncate` does it.
    fn cut(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
        fs::write(self.path(from), "").unwrap();
    }

    /// Seconds later, reads all that there is; that it was is not noted where the process is about to be killed.
    fn read_after(&mut self, seconds: u64, is_noted: bool) {
        self.now += Duration::from_secs(seconds);
        loop {
            let orders = TailOrders {
                may_read: true,
                go_back: Vec::new(),
            };
            let turn = self.reader.turn(orders, self.now);
            // That is noted before anything is read of them.
            for place in turn.begun {
                self.places.entry(place.number).or_insert(place);
            }
            for chunk in turn.chunks {
                for piece in chunk.pieces {
                    match piece {
                        FramePiece::Frame(line) => {
                            self.lines.push(String::from_utf8_lossy(&line).into_owned());
                        }
                        FramePiece::Unfit(fault, _) => self.letters.push(fault),
                    }
                }
                if is_noted {
                    self.places.insert(chunk.end.number, chunk.end);
                }
            }
            // Not before all of it is safe.
            for ended in turn.ended.into_iter().filter(|_| is_noted) {
                self.places.remove(&ended);
            }
            self.problems = turn.problems;
            if !turn.is_busy {
                return;
            }
        }
    }

    fn read(&mut self) {
        self.read_after(1, true);
    }

    /// The gateway ends and starts again; what was noted is all that is known.
    fn restart(&mut self) {
        let known = self.places.values().cloned().collect();
        self.reader = reader(&self.pattern, &self.framing, known);
    }

    #[track_caller]
    fn has(&mut self, expected: &str) {
        let lines = std::mem::take(&mut self.lines);
        assert_eq!(lines.join(" "), expected);
    }
}

fn many(from: usize, to: usize) -> String {
    (from..to)
        .map(|number| format!("line {number:06}\n"))
        .collect()
}

fn numbers(lines: &[String]) -> Vec<usize> {
    let number = |line: &String| line.strip_prefix("line ").unwrap().parse().unwrap();
    lines.iter().map(number).collect()
}

#[test]
fn lines_come_as_they_are_complete_and_nothing_comes_twice_over_a_restart() {
    let mut scene = scene("app.log");
    assert_eq!(scene.problems, [TailProblem::Missing]);
    scene.add("app.log", "one\ntwo\r\nthr");
    scene.read();
    scene.has("one two");
    assert!(scene.problems.is_empty());
    scene.restart();
    scene.read();
    scene.has("");
    scene.add("app.log", "ee\n\nfour\n");
    scene.read();
    scene.has("three four");
    scene.restart();
    scene.add("app.log", "five\n");
    scene.read();
    scene.has("five");
    assert!(scene.letters.is_empty());
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_next_one_also_while_we_were_down() {
    for is_down in [false, true] {
        let mut scene = scene("app.log");
        scene.add("app.log", "one\n");
        scene.read();
        scene.add("app.log", "two\n");
        scene.rename("app.log", "app.log.1");
        scene.add("app.log", "four\n");
        // Its writer has not heard yet.
        scene.add("app.log.1", "three\n");
        if is_down {
            scene.restart();
        }
        scene.read();
        scene.has("one two three four");
        scene.add("app.log.1", "late\n");
        scene.add("app.log", "five\n");
        scene.read();
        scene.has("late five");
        // Twice more, and both at once.
        scene.rename("app.log.1", "app.log.2");
        scene.rename("app.log", "app.log.1");
        scene.add("app.log.1", "six\n");
        scene.add("app.log", "seven\n");
        scene.restart();
        scene.read();
        scene.has("six seven");
        assert!(scene.letters.is_empty());
    }
}

#[test]
fn what_was_rotated_more_than_once_between_two_looks_is_read_in_order() {
    for is_down in [false, true] {
        let mut scene = scene("app.log");
        scene.add("app.log", "one\n");
        scene.read();
        for (aside, line) in [("1", "two\n"), ("2", "three\n"), ("3", "four\n")] {
            scene.let_time_pass();
            scene.add("app.log", line);
            match aside {
                "2" => scene.cut("app.log", "app.log.2"),
                _ => scene.rename("app.log", &format!("app.log.{aside}")),
            }
        }
        scene.let_time_pass();
        scene.add("app.log", "five\n");
        if is_down {
            scene.restart();
        }
        scene.read();
        scene.has("one two three four five");
    }
}

#[test]
fn a_file_that_was_copied_and_cut_is_read_out_of_its_copy_first_also_while_we_were_down() {
    for (pattern, is_down) in [
        ("app.log", false),
        ("app.log", true),
        ("app.log*", false),
        ("app.log*", true),
    ] {
        let mut scene = scene(pattern);
        scene.add("app.log", "one\nhal");
        scene.read();
        scene.has("one");
        scene.add("app.log", "f\ntwo\n");
        scene.cut("app.log", "app.log.1");
        scene.add("app.log", "three\n");
        if is_down {
            scene.restart();
        }
        scene.read();
        scene.read();
        scene.has("half two three");
        scene.add("app.log", "four\n");
        scene.read();
        scene.restart();
        scene.read();
        scene.has("four");
        assert!(scene.letters.is_empty(), "{pattern} {is_down}");
    }
}

#[test]
fn what_was_not_safe_of_a_file_that_was_cut_is_read_again_out_of_its_copy() {
    for pattern in ["app.log", "app.log*"] {
        let mut scene = scene(pattern);
        scene.add("app.log", "one\n");
        scene.read();
        // Read, and not safe when the process is killed.
        scene.add("app.log", "two\n");
        scene.read_after(1, false);
        scene.add("app.log", "three\n");
        scene.cut("app.log", "app.log.1");
        scene.add("app.log", "four\n");
        scene.read_after(1, false);
        scene.has("one two three four");
        scene.restart();
        scene.read();
        scene.has("two three four");
    }
}

#[test]
fn a_copy_that_is_seen_before_the_original_is_cut_is_not_read_twice() {
    let mut scene = scene("app.log*");
    scene.add("app.log", &many(0, 10));
    scene.read();
    fs::copy(scene.path("app.log"), scene.path("app.log.1")).unwrap();
    scene.read();
    scene.read();
    fs::write(scene.path("app.log"), "line 000010\n").unwrap();
    scene.read();
    scene.read();
    assert_eq!(numbers(&scene.lines), (0..11).collect::<Vec<_>>());
    // One that only looks like it is read: what begins as another one and goes on otherwise.
    scene.lines.clear();
    scene.add("app.log.new", "line 000010\n");
    scene.read();
    scene.add("app.log.new", "line 000099\n");
    scene.read();
    scene.read();
    assert_eq!(numbers(&scene.lines), [10, 99]);
}

#[test]
fn a_file_that_is_cut_and_has_no_copy_begins_anew_and_its_half_line_is_a_letter() {
    for is_longer in [false, true] {
        let mut scene = scene("app.log");
        scene.add("app.log", "one\nhal");
        scene.read();
        let anew = if is_longer {
            "another one\nand one\n"
        } else {
            "x\n"
        };
        fs::write(scene.path("app.log"), anew).unwrap();
        scene.read();
        scene.has(&format!("one {}", anew.trim_end().replace('\n', " ")));
        assert_eq!(scene.letters, [FrameFault::CutOff]);
    }
}

#[test]
fn a_file_in_the_place_of_another_one_is_read_from_its_beginning_whatever_that_is() {
    for is_down in [false, true] {
        let mut scene = scene("app.csv");
        scene.add("app.csv", "time;value\n1;1\n");
        scene.read();
        scene.has("time;value 1;1");
        scene.add("new", "time;value\n1;1\n2;2\n");
        scene.rename("new", "app.csv");
        if is_down {
            scene.restart();
        }
        scene.read();
        scene.has("time;value 1;1 2;2");
    }
}

#[test]
fn a_file_that_the_file_system_numbers_anew_is_known_by_what_stands_in_it() {
    let mut scene = scene("app.log");
    scene.add("app.log", &many(0, 500));
    scene.read();
    assert!(
        scene
            .places
            .values()
            .all(|place| place.mark.offset > KNOWN_BYTES)
    );
    scene.lines.clear();
    scene.restart();
    // As after a restore.
    fs::copy(scene.path("app.log"), scene.path("new")).unwrap();
    fs::remove_file(scene.path("app.log")).unwrap();
    scene.rename("new", "app.log");
    scene.add("app.log", "line 000500\n");
    scene.read();
    assert_eq!(numbers(&scene.lines), [500]);
}

#[test]
fn files_that_fit_are_each_read_in_order_and_under_their_own_topics() {
    let mut scene = scene("*.log");
    scene.add("a.log", &many(0, 20_000));
    scene.add("b.log", "b\n");
    scene.add("c.txt", "c\n");
    fs::create_dir(scene.path("d.log")).unwrap();
    std::os::unix::fs::symlink(scene.path("c.txt"), scene.path("link.log")).unwrap();
    scene.read();
    let (of_a, others): (Vec<_>, Vec<_>) = std::mem::take(&mut scene.lines)
        .into_iter()
        .partition(|line| line.starts_with("line"));
    assert_eq!(numbers(&of_a), (0..20_000).collect::<Vec<_>>());
    assert_eq!(others.len(), 2, "{others:?}");
    let topics: BTreeSet<_> = scene.reader.topics().into_iter().collect();
    assert_eq!(
        topics,
        ["log/a.log", "log/b.log", "log/link.log"]
            .map(String::from)
            .into()
    );
    // A link that leads elsewhere from now on.
    scene.add("e.txt", "e\n");
    fs::remove_file(scene.path("link.log")).unwrap();
    scene.add("c.txt", "last\n");
    std::os::unix::fs::symlink(scene.path("e.txt"), scene.path("link.log")).unwrap();
    scene.read();
    scene.has("last e");
}

#[test]
fn what_cannot_be_read_is_told_and_read_once_it_can() {
    let mut scene = scene("app.log");
    fs::create_dir(scene.path("app.log")).unwrap();
    scene.read();
    let told = |scene: &Scene| scene.problems.first().map(|one| one.words("x"));
    assert!(told(&scene).is_some_and(|(kind, words, _)| {
        kind == "file-unreadable" && words.contains("no file but a folder")
    }));
    fs::remove_dir(scene.path("app.log")).unwrap();
    std::os::unix::fs::symlink(scene.path("app.log"), scene.path("app.log")).unwrap();
    scene.read();
    assert!(told(&scene).is_some_and(|(kind, ..)| kind == "file-unreadable"));
    fs::remove_file(scene.path("app.log")).unwrap();
    scene.add("app.log", "one\n");
    scene.read();
    scene.has("one");
    assert_eq!(told(&scene), None);
}

#[test]
fn whatever_bytes_there_are_each_line_is_one_and_what_is_too_long_is_a_letter() {
    let mut scene = scene("app.log");
    let path = scene.path("app.log");
    fs::write(
        &path,
        [
            b"a\0b\n\xff\xfe\n".as_slice(),
            &[b'x'; 300_000],
            b"\nlast\n",
        ]
        .concat(),
    )
    .unwrap();
    scene.read();
    scene.has("a\0b \u{fffd}\u{fffd} last");
    assert_eq!(scene.letters, [FrameFault::TooLong]);
    // While one that is too long is under way its beginning is where a restart begins.
    scene.add("app.log", &"y".repeat(1_000));
    scene.read();
    scene.restart();
    scene.add("app.log", "y\nend\n");
    scene.read();
    scene.has("end");
    assert_eq!(scene.letters.len(), 3);
}

#[test]
fn what_is_out_of_step_is_not_read_any_further_until_it_is_another_file() {
    use crate::source::raw::{LengthCounts, LengthField};
    let framing = RawFraming::Length(LengthField::U8, LengthCounts::Frame);
    let mut scene = scene_of("frames", framing);
    fs::write(scene.path("frames"), b"\x02a\x00bcd").unwrap();
    scene.read();
    scene.has("a");
    assert_eq!(scene.letters, [FrameFault::OutOfStep]);
    assert!(matches!(&scene.problems[..], [TailProblem::OutOfStep(_)]));
    scene.add("frames", "\x02e");
    scene.read();
    scene.has("");
    fs::remove_file(scene.path("frames")).unwrap();
    scene.add("frames", "\x02f");
    scene.read();
    scene.read();
    scene.has("f");
    scene.read_after(20, true);
    assert!(scene.problems.is_empty(), "{:?}", scene.problems);
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_given_up_after_a_while() {
    let mut scene = scene("app.log");
    scene.add("app.log", "one\n");
    scene.read();
    let mut writer = OpenOptions::new()
        .append(true)
        .open(scene.path("app.log"))
        .unwrap();
    fs::remove_file(scene.path("app.log")).unwrap();
    writer.write_all(b"two\nhal").unwrap();
    scene.read();
    scene.has("one two");
    assert!(scene.letters.is_empty() && scene.places.len() == 1);
    scene.read_after(20, true);
    assert_eq!(scene.letters, [FrameFault::CutOff]);
    assert!(scene.places.is_empty() && scene.problems == [TailProblem::Missing]);
}

/// Kills at any moment: what was noted is some turns old.
#[test]
fn a_kill_at_any_moment_loses_nothing_and_turns_nothing_round() {
    let mut scene = scene("app.log");
    scene.add("app.log", "");
    scene.read();
    let (mut written, mut seen, mut history) = (0, BTreeSet::new(), Vec::new());
    for round in 0..150 {
        scene.let_time_pass();
        let count = fastrand::usize(0..200);
        let (rotation, is_killed) = (fastrand::u8(0..5), fastrand::u8(0..4) == 0);
        scene.add("app.log", &many(written, written + count));
        history.push((round, written, rotation, is_killed));
        written += count;
        let last = &history[history.len().saturating_sub(9)..];
        let aside = format!("app.log.{round}");
        match rotation {
            0 => {
                scene.rename("app.log", &aside);
                scene.add("app.log", "");
            }
            1 if count > 0 => scene.cut("app.log", &aside),
            _ => {}
        }
        scene.read_after(1, !is_killed);
        // Each line is the next one, or came before.
        let came = numbers(&std::mem::take(&mut scene.lines));
        for number in came {
            assert!(
                number == 0 || seen.contains(&(number - 1)),
                "{last:?}: {number} came before {}",
                number - 1
            );
            seen.insert(number);
        }
        if is_killed {
            scene.restart();
        }
    }
    scene.read();
    scene.read();
    seen.extend(numbers(&scene.lines));
    assert_eq!(seen.len(), written);
    assert!(scene.letters.is_empty());
}

#[test]
fn what_was_lost_inside_is_read_again() {
    let mut scene = scene("app.log");
    scene.add("app.log", "one\ntwo\n");
    scene.read();
    let place = scene.places.values().next().unwrap().clone();
    let from = ReadPlace {
        mark: mark::FileMark::of(&fs::File::open(scene.path("app.log")).unwrap(), 4).unwrap(),
        ..place
    };
    let orders = TailOrders {
        may_read: true,
        go_back: vec![from],
    };
    let turn = scene.reader.turn(orders, scene.now);
    let pieces: Vec<_> = turn
        .chunks
        .into_iter()
        .flat_map(|chunk| chunk.pieces)
        .collect();
    assert_eq!(pieces, [FramePiece::Frame("two".into())]);
}
