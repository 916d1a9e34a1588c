//! Files that are written, renamed, copied, cut and replaced under the eyes of a reader, and while it is away.

use std::fs::{self, OpenOptions};
use std::io::Write;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::handover::LeftFiles;
use super::mark::FileId;
use super::reader::TailOrders;
use super::rotation::KNOWN_BYTES;
use super::slot::{MOST_OPEN, RestingFile};
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
    resting: BTreeMap<u64, Arc<RestingFile>>,
    problems: Vec<TailProblem>,
    /// Topics of which something is gone.
    lost: Vec<String>,
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
        resting: BTreeMap::new(),
        problems: Vec::new(),
        lost: Vec::new(),
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
                ..TailOrders::default()
            };
            let turn = self.reader.turn(orders, self.now);
            let is_busy = turn.is_busy;
            self.take(turn, is_noted);
            if !is_busy {
                return;
            }
        }
    }

    fn take(&mut self, turn: TailTurn, is_noted: bool) {
        {
            assert!(self.reader.files.len() <= MOST_OPEN + 64);
            for number in turn.woken {
                let one = self.resting.remove(&number).unwrap();
                self.places
                    .entry(number)
                    .or_insert_with(|| one.place.clone());
            }
            for one in turn.rested {
                self.resting.insert(one.place.number, one);
            }
            let lost = turn.lost.iter();
            self.lost
                .extend(lost.map(|topic| String::from_utf8_lossy(topic).into_owned()));
            // That is noted before anything is read of them.
            for place in turn.begun {
                self.places.entry(place.number).or_insert(place);
            }
            for place in self.places.values_mut().filter(|_| is_noted) {
                place.is_through |= turn.through.contains(&place.number);
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
        }
    }

    fn read(&mut self) {
        self.read_after(1, true);
    }

    /// Looks which files there are, and reads nothing.
    fn look(&mut self) {
        self.now += Duration::from_secs(1);
        let turn = self.reader.turn(TailOrders::default(), self.now);
        self.take(turn, true);
    }

    /// The gateway ends and starts again; what was noted is all that is known.
    fn restart(&mut self) {
        let resting = self.resting.keys();
        self.places
            .retain(|number, _| resting.clone().all(|one| one != number));
        let known = self.places.values().cloned().collect();
        self.reader = reader(&self.pattern, &self.framing, known);
        let resting = self.resting.values();
        self.reader.take_over(LeftFiles {
            resting: resting.map(|one| (one.place.id, Arc::clone(one))).collect(),
            ..LeftFiles::default()
        });
    }

    /// The source begins anew, in the same process.
    fn reload(&mut self) {
        let left = self.reader.leave(self.places.clone());
        let known = left.places.values().cloned().collect();
        self.reader = reader(&self.pattern, &self.framing, known);
        self.reader.take_over(left);
    }

    /// The source leaves for what comes next: what it reads until then, and what it gives up.
    fn leave(&mut self, next: &TailNext, may_read: bool) -> Vec<leaving::GivenUp> {
        loop {
            let orders = TailOrders {
                may_read,
                leaves: Some(next.clone()),
                go_back: Vec::new(),
            };
            let turn = self.reader.turn(orders, self.now);
            let is_over = turn.rest == 0 || !may_read;
            self.take(turn, true);
            if is_over {
                return self.reader.give_up(next);
            }
        }
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

#[test]
fn a_neighbour_whose_name_goes_on_is_no_rotation() {
    // Both have a file's name and are written in one moment.
    for (pattern, first, second) in [
        ("sensor*", "sensor2", "sensor20"),
        ("sensor*", "sensor2", "sensor2-1"),
        ("log*", "log", "log.2"),
    ] {
        let mut scene = scene(pattern);
        scene.add(first, "");
        scene.read();
        scene.let_time_pass();
        scene.add(second, "of the second\n");
        scene.add(first, "of the first\n");
        scene.read();
        scene.lines.sort();
        scene.has("of the first of the second");
        let topics: BTreeSet<_> = scene.reader.topics().into_iter().collect();
        let expected = [first, second].map(|name| format!("log/{name}"));
        assert_eq!(topics, expected.into());
    }
    // One that the pattern does not name.
    let mut scene = scene("sensor1");
    scene.add("sensor1", "a1\n");
    scene.add("sensor10", "of another one\n");
    scene.read();
    scene.let_time_pass();
    scene.add("sensor10", "and more\n");
    fs::write(scene.path("sensor1"), "b1\nb2\n").unwrap();
    scene.read();
    scene.read();
    scene.has("a1 b1 b2");
}

#[test]
fn what_stands_in_another_file_too_is_read_under_its_own_name() {
    let mut scene = scene("*.log");
    scene.add("sensor1.log", "21.5\n21.6\n21.7\n");
    scene.read();
    scene.add("sensor2.log", "21.5\n21.6\n");
    scene.read();
    scene.has("21.5 21.6 21.7 21.5 21.6");
    // It is no copy of one that is cut either.
    scene.add("sensor3.log", "21.5\n21.6\n21.7\n21.8\n");
    fs::write(scene.path("sensor1.log"), "").unwrap();
    scene.read();
    scene.read();
    scene.has("21.5 21.6 21.7 21.8");
    // Nor the rest of one that went away while nobody looked.
    scene.add("sensor4.log", &many(0, 500));
    scene.read();
    scene.lines.clear();
    scene.restart();
    scene.add("sensor5.log", &many(0, 501));
    fs::remove_file(scene.path("sensor4.log")).unwrap();
    scene.read();
    assert_eq!(numbers(&scene.lines), (0..501).collect::<Vec<_>>());
    assert!(
        scene
            .reader
            .topics()
            .contains(&"log/sensor5.log".to_owned())
    );
}

#[test]
fn what_may_be_a_copy_waits_for_a_while_and_is_told() {
    let mut scene = scene("log*");
    scene.add("log", "started\nready\n");
    scene.read();
    scene.add("log-2", "started\n");
    scene.read();
    scene.has("started ready");
    let told = |scene: &Scene| scene.problems.first().map(|one| one.words("x").0);
    assert_eq!(told(&scene), Some("file-like-another"));
    scene.read_after(20, true);
    scene.has("");
    scene.read_after(20, true);
    scene.has("started");
    assert_eq!(told(&scene), None);
    scene.add("log-2", "ready\n");
    scene.read();
    scene.has("ready");
}

/// As if that one were on another file system.
fn elsewhere(id: FileId) -> FileId {
    FileId {
        device: id.device.map(|device| device + 1),
        ..id
    }
}

#[test]
fn two_files_of_one_number_on_two_file_systems_are_two() {
    let mut scene = scene("*.log");
    scene.add("a.log", "a\n");
    scene.read();
    for file in scene.reader.files.values_mut() {
        file.done.id = elsewhere(file.done.id);
        file.done.home = scene.folder.path().join("z.log");
    }
    scene.read();
    scene.has("a a");
    // Of what was noted neither is taken for the other, although nothing was read of it.
    scene.add("b.log", "");
    scene.read();
    let b = FileId::of(&fs::metadata(scene.path("b.log")).unwrap());
    let of_b = scene.places.values_mut().find(|place| place.id == b);
    let of_b = of_b.unwrap();
    of_b.home = scene.folder.path().join("c.log");
    of_b.id = elsewhere(b);
    scene.restart();
    scene.add("b.log", "b\n");
    scene.read();
    scene.has("b");
    assert!(scene.reader.topics().contains(&"log/b.log".to_owned()));
}

#[test]
fn a_file_is_known_also_where_the_device_was_not_noted_or_is_another_one_now() {
    for is_noted in [false, true] {
        let mut scene = scene("app.log");
        scene.add("app.log", "one\n");
        scene.read();
        for place in scene.places.values_mut() {
            place.id = match is_noted {
                true => elsewhere(place.id),
                false => FileId {
                    device: None,
                    ..place.id
                },
            };
        }
        scene.restart();
        scene.add("app.log", "two\n");
        scene.rename("app.log", "app.log.1");
        scene.add("app.log", "three\n");
        scene.read();
        scene.has("one two three");
        // From now on it is noted as it is.
        scene.add("app.log", "four\n");
        scene.read();
        let id = FileId::of(&fs::metadata(scene.path("app.log")).unwrap());
        assert!(scene.places.values().any(|place| place.id == id));
        scene.restart();
        scene.read();
        scene.has("four");
    }
}

#[test]
fn a_number_that_was_given_to_another_file_is_not_the_one_that_was_read() {
    let mut scene = scene("*.log");
    scene.add("sensor1.log", "online\n");
    scene.read();
    scene.restart();
    // It has the number of the other one, and begins as that.
    scene.rename("sensor1.log", "sensor2.log");
    scene.add("sensor2.log", "ready\n");
    scene.read();
    scene.has("online online ready");
    assert_eq!(scene.reader.topics(), ["log/sensor2.log"]);
    // Nothing was read of it.
    scene.add("sensor3.log", "");
    scene.read();
    scene.restart();
    scene.rename("sensor3.log", "sensor4.log");
    scene.add("sensor4.log", "ready\n");
    scene.read();
    scene.has("ready");
    assert!(
        scene
            .reader
            .topics()
            .contains(&"log/sensor4.log".to_owned())
    );
}

#[test]
fn what_stands_in_a_deleted_file_is_read_on_by_whoever_comes_next() {
    let mut scene = scene("*.log");
    scene.add("a.log", "one\nhal");
    scene.add("b.log", "b\n");
    scene.read();
    scene.add("a.log", "f\ntwo\n");
    fs::remove_file(scene.path("a.log")).unwrap();
    // Read and not safe yet, and not read at all.
    scene.add("b.log", "c\n");
    scene.read_after(0, false);
    fs::remove_file(scene.path("b.log")).unwrap();
    scene.lines.clear();
    let next = TailNext::Files(FilePattern::parse("/var/log/x").unwrap());
    let own = TailNext::Files(scene.pattern.clone());
    assert!(scene.reader.give_up(&own).is_empty());
    scene.reload();
    scene.read();
    scene.lines.sort();
    scene.has("c half two");
    // What nobody goes on with is read to its end, if there is room.
    scene.add("c.log", "one\n");
    scene.add("d.log", "stays\n");
    scene.read();
    scene.add("c.log", "two\nthree");
    scene.add("d.log", "where it is\n");
    fs::remove_file(scene.path("c.log")).unwrap();
    scene.lines.clear();
    assert!(scene.leave(&next, true).is_empty());
    scene.has("two");
    assert_eq!(scene.letters, [FrameFault::CutOff]);
}

#[test]
fn what_nobody_reads_of_a_deleted_file_is_counted() {
    let mut scene = scene("app.log");
    scene.add("app.log", "one\n");
    scene.read();
    assert!(scene.leave(&TailNext::Stop, false).is_empty());
    scene.add("app.log", &many(0, 10_000));
    fs::remove_file(scene.path("app.log")).unwrap();
    let given_up = scene.leave(&TailNext::Nothing, false);
    let counted = given_up.iter().map(|one| (one.bytes, one.frames));
    assert_eq!(counted.collect::<Vec<_>>(), [(120_000, 10_000)]);
    assert_eq!(given_up[0].topic, "log/app.log");
}

#[test]
fn any_number_of_files_is_read_with_so_many_open() {
    const FILES: usize = 700;
    let mut scene = scene("*.log");
    let names: Vec<String> = (0..FILES).map(|number| format!("{number}.log")).collect();
    let round = |scene: &mut Scene, round: usize| {
        for name in &names {
            scene.add(name, &format!("{name} {round}\n"));
        }
        for _ in 0..4 {
            scene.read();
        }
        let expected: BTreeSet<String> =
            names.iter().map(|name| format!("{name} {round}")).collect();
        let lines = std::mem::take(&mut scene.lines);
        assert_eq!(
            (lines.len(), expected.len()),
            (FILES, FILES),
            "round {round}"
        );
        assert_eq!(lines.into_iter().collect::<BTreeSet<_>>(), expected);
        assert!(scene.reader.files.len() <= MOST_OPEN && scene.problems.is_empty());
    };
    round(&mut scene, 0);
    round(&mut scene, 1);
    scene.restart();
    scene.read();
    scene.has("");
    round(&mut scene, 2);
    scene.reload();
    round(&mut scene, 3);
    // One at rest is rotated, one is cut, one is copied and cut, one is deleted.
    let resting: Vec<PathBuf> = scene.resting.values().map(|one| one.path.clone()).collect();
    let name = |at: usize| {
        resting[at]
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let (rotated, cut, copied) = (name(0), name(1), name(2));
    scene.add(&rotated, "rest\n");
    scene.rename(&rotated, &format!("{rotated}.1"));
    scene.add(&rotated, "new\n");
    fs::write(scene.path(&cut), "cut\n").unwrap();
    scene.add(&copied, "copied\n");
    scene.cut(&copied, &format!("{copied}.1"));
    fs::remove_file(&resting[3]).unwrap();
    scene.read();
    scene.read();
    let at = |scene: &Scene, line: &str| scene.lines.iter().position(|one| one == line);
    assert!(at(&scene, "rest") < at(&scene, "new"), "{:?}", scene.lines);
    scene.lines.sort();
    scene.has("copied cut new rest");
    assert!(scene.lost.is_empty(), "{:?}", scene.lost);
}

#[test]
fn what_waits_for_a_slot_gets_one_though_all_others_always_have_more() {
    let mut scene = scene("*.log");
    let names: Vec<String> = (0..=MOST_OPEN).map(|one| format!("{one}.log")).collect();
    let write = |scene: &Scene| names.iter().for_each(|name| scene.add(name, "x\n"));
    let turn = |scene: &mut Scene| {
        write(scene);
        scene.now += Duration::from_secs(1);
        let orders = TailOrders {
            may_read: true,
            ..TailOrders::default()
        };
        let turn = scene.reader.turn(orders, scene.now);
        scene.take(turn, true);
    };
    write(&scene);
    for _ in 0..40 {
        turn(&mut scene);
    }
    let numbers = scene.places.len() + scene.resting.len();
    assert!(numbers > MOST_OPEN, "{numbers} of them were opened");
    // One that is never opened, and goes, is told.
    let mut other = self::scene("*.log");
    for name in &names {
        other.add(name, "x\n");
    }
    other.now += Duration::from_secs(1);
    let unread = other.reader.turn(TailOrders::default(), other.now);
    other.take(unread, true);
    let [waiting] = &other.reader.waiting.keys().copied().collect::<Vec<_>>()[..] else {
        panic!("one waits");
    };
    let is_it = |name: &&String| FileId::of(&fs::metadata(other.path(name)).unwrap()) == *waiting;
    let name = names.iter().find(is_it).unwrap();
    fs::remove_file(other.path(name)).unwrap();
    other.now += Duration::from_secs(1);
    let unread = other.reader.turn(TailOrders::default(), other.now);
    other.take(unread, true);
    assert_eq!(other.lost, [format!("log/{name}")]);
}

/// Two files, of which the second waits for a slot and was never opened.
fn waiting() -> Scene {
    let mut scene = scene("*.log");
    scene.reader.slots = 1;
    scene.add("a.log", "a1\n");
    scene.let_time_pass();
    scene.add("b.log", "b1\n");
    scene.look();
    assert_eq!(scene.reader.waiting.len(), 1);
    scene
}

#[test]
fn what_was_rotated_and_never_opened_is_read_after_a_restart_and_a_reload() {
    for is_kill in [true, false] {
        let mut scene = waiting();
        if is_kill {
            scene.restart();
        } else {
            scene.reload();
        }
        for name in ["a.log", "b.log"] {
            scene.rename(name, &format!("{name}.1"));
            scene.add(name, "new\n");
        }
        for _ in 0..40 {
            scene.read();
        }
        scene.lines.sort();
        scene.has("a1 b1 new new");
        assert!(scene.lost.is_empty(), "{:?}", scene.lost);
    }
}

#[test]
fn many_that_were_rotated_while_they_waited_do_not_wait_for_each_other_for_minutes() {
    let mut scene = scene("*.log");
    scene.reader.slots = 1;
    scene.add("live.log", "live\n");
    scene.let_time_pass();
    let names: Vec<String> = (0..80).map(|number| format!("{number}.log")).collect();
    for name in &names {
        scene.add(name, "x\n");
    }
    scene.look();
    for name in &names {
        scene.rename(name, &format!("{name}.1"));
    }
    for _ in 0..40 {
        scene.read();
    }
    assert_eq!(scene.lines.len(), 81);
}

#[test]
fn what_is_cut_while_it_waits_is_read_out_of_its_copy_or_told() {
    let mut scene = waiting();
    fs::write(scene.path("b.log"), "").unwrap();
    scene.read();
    scene.read();
    scene.has("a1");
    assert_eq!(scene.lost, ["log/b.log"]);
    let mut scene = waiting();
    scene.cut("b.log", "b.log.1");
    scene.add("b.log", "b2\n");
    scene.read();
    scene.read();
    scene.has("a1 b1 b2");
    assert!(scene.lost.is_empty(), "{:?}", scene.lost);
    // One of which something was read before.
    let mut scene = waiting();
    scene.read();
    scene.read();
    scene.has("a1 b1");
    scene.add("a.log", "a2\n");
    scene.add("b.log", "b2\n");
    scene.look();
    assert_eq!(scene.reader.waiting.len(), 1);
    fs::write(scene.path("a.log"), "").unwrap();
    scene.reader.slots = 2;
    scene.look();
    assert_eq!(scene.lost, ["log/a.log"]);
}

#[test]
fn what_came_in_the_place_of_another_one_gives_up_its_slot_in_its_turn() {
    let mut scene = waiting();
    fs::remove_file(scene.path("b.log")).unwrap();
    scene.read();
    scene.has("a1");
    scene.rename("a.log", "a.log.1");
    scene.add("a.log", "a2\n");
    scene.reader.slots = 2;
    scene.read();
    scene.has("a2");
    scene.reader.slots = 1;
    scene.add("c.log", "c1\n");
    for _ in 0..40 {
        scene.read();
    }
    scene.has("c1");
}

#[test]
fn a_name_that_is_no_text_is_followed_under_a_topic_that_is() {
    let mut scene = scene("*.log");
    let names = [b"a\xff.log".as_slice(), b"a\xfe.log"];
    let path = |scene: &Scene, name: &[u8]| scene.folder.path().join(OsStr::from_bytes(name));
    for name in names {
        fs::write(path(&scene, name), "one\n").unwrap();
    }
    scene.read();
    scene.has("one one");
    let topics: BTreeSet<_> = scene.reader.topics().into_iter().collect();
    assert_eq!(
        topics,
        ["log/a%FE.log", "log/a%FF.log"].map(String::from).into()
    );
    // Each is known again, also where it was rotated meanwhile.
    scene.restart();
    let (old, aside) = (path(&scene, names[0]), path(&scene, b"a\xff.log.1"));
    fs::rename(&old, &aside).unwrap();
    OpenOptions::new()
        .append(true)
        .open(&aside)
        .and_then(|mut file| file.write_all(b"two\n"))
        .unwrap();
    fs::write(&old, "three\n").unwrap();
    scene.read();
    scene.has("two three");
    let noted = serde_json::to_string(&scene.places.values().collect::<Vec<_>>()).unwrap();
    let known: Vec<ReadPlace> = serde_json::from_str(&noted).unwrap();
    assert_eq!(known, scene.places.values().cloned().collect::<Vec<_>>());
}

#[test]
fn what_was_seen_and_is_cut_before_it_is_read_is_told() {
    let mut scene = scene("app.log");
    scene.add("app.log", "one\n");
    scene.read();
    scene.add("app.log", "two\n");
    scene.now += Duration::from_secs(1);
    let turn = scene.reader.turn(TailOrders::default(), scene.now);
    scene.take(turn, true);
    fs::write(scene.path("app.log"), "").unwrap();
    scene.read();
    assert_eq!(scene.lost, ["log/app.log"]);
}

#[test]
fn while_files_are_rotated_they_are_looked_for_more_often() {
    let mut scene = scene("app.log");
    scene.add("app.log", "one\n");
    scene.read();
    for line in ["two\n", "three\n", "four\n"] {
        fs::remove_file(scene.path("app.log")).unwrap();
        scene.add("app.log", line);
        scene.now += Duration::from_millis(250);
        scene.read_after(0, true);
    }
    scene.has("one two three four");
}

#[test]
fn what_was_away_and_is_back_is_read_on() {
    let mut scene = scene("*.log");
    scene.add("a.log", "one\n");
    scene.add("b.log", "b\n");
    fs::create_dir(scene.path("away")).unwrap();
    scene.read();
    scene.rename("a.log", "away/a.log");
    scene.read();
    scene.read_after(400, true);
    assert_eq!((scene.reader.files.len(), scene.places.len()), (1, 2));
    scene.rename("away/a.log", "a.log");
    scene.add("a.log", "two\n");
    scene.read();
    scene.lines.sort();
    scene.has("b one two");
    // On a medium that has another number now.
    for file in scene.reader.files.values_mut() {
        file.done.id = elsewhere(file.done.id);
    }
    scene.add("a.log", "three\n");
    scene.read();
    scene.has("three");
    // Another one takes its place.
    scene.rename("a.log", "away/a.log");
    scene.read();
    scene.read_after(400, true);
    scene.add("a.log", "new\n");
    scene.read();
    scene.has("new");
    assert_eq!(scene.places.len(), 2);
    // For longer than a day.
    scene.rename("a.log", "away/b.log");
    scene.read();
    scene.read_after(400, true);
    assert_eq!(scene.places.len(), 2);
    scene.read_after(100_000, true);
    scene.read();
    assert_eq!(scene.places.len(), 1);
}

#[test]
fn it_is_noted_that_nothing_is_missing_of_what_was_rotated_and_read() {
    let mut scene = scene("app.log");
    scene.add("app.log", "one\n");
    scene.read();
    let through = |scene: &Scene| scene.places.values().filter(|one| one.is_through).count();
    scene.rename("app.log", "app.log.1");
    scene.add("app.log", "two\n");
    scene.read();
    scene.read();
    assert_eq!((scene.places.len(), through(&scene)), (2, 1));
    scene.add("app.log.1", "hal");
    scene.read();
    scene.add("app.log.1", "f\n");
    scene.read();
    assert_eq!(through(&scene), 0);
    scene.read();
    assert_eq!(through(&scene), 1);
    scene.has("one two half");
}

#[test]
fn however_many_others_there_are_each_file_that_fits_is_read() {
    let mut scene = scene("app*.log");
    for number in 0..10 {
        scene.add(&format!("app{number}.log"), "x\n");
    }
    let link = |scene: &Scene, name: &str| {
        fs::hard_link(scene.path("other"), scene.path(name)).unwrap();
    };
    scene.add("other", "");
    for number in 0..2 * search::MOST_ENTRIES {
        link(&scene, &format!("other-{number}"));
    }
    scene.read();
    assert_eq!(scene.lines.len(), 10);
    assert!(scene.problems.is_empty(), "{:?}", scene.problems);
    // Where those that fit are more than are looked at, that is told, and none of those that are followed is gone.
    for number in 0..=search::MOST_ENTRIES {
        let (from, to) = (format!("other-{number}"), format!("app-{number}.log"));
        scene.rename(&from, &to);
    }
    scene.read();
    assert_eq!(scene.problems, [TailProblem::NotLookedAt]);
    assert!(reach(&scene.pattern).is_err_and(|words| words.contains("not looked at")));
    scene.read_after(1_000, true);
    for number in 0..10 {
        scene.add(&format!("app{number}.log"), "y\n");
    }
    scene.read();
    assert_eq!(scene.lines.len(), 20);
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
        leaves: None,
    };
    let turn = scene.reader.turn(orders, scene.now);
    let pieces: Vec<_> = turn
        .chunks
        .into_iter()
        .flat_map(|chunk| chunk.pieces)
        .collect();
    assert_eq!(pieces, [FramePiece::Frame("two".into())]);
}
