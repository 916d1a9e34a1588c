use super::*;

fn source(path: &str, code: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: code.to_owned(),
        code: code.to_owned(),
    }
}

#[test]
fn an_arrow_leads_to_the_file_that_defines_what_is_named_and_a_face_is_none() {
    let sources = [
        source("s/lib.rs", "pub mod a;\nmod b;\n"),
        source(
            "s/a/mod.rs",
            "mod c;\npub use c::{Thing, other as o};\nfn f() { c::g() }\n",
        ),
        source(
            "s/a/c.rs",
            "use super::super::b::{self, Left};\npub(in crate::a) struct Thing;\n",
        ),
        source("s/b.rs", "use crate::a::{Thing, o};\npub struct Left;\n"),
    ];
    let graph = Graph::of(&sources, "s");
    assert_eq!(
        graph.arrows[1],
        BTreeSet::from([2]),
        "through `c::g`, not through `pub use`"
    );
    assert_eq!(
        graph.arrows[2],
        BTreeSet::from([3]),
        "who may see `Thing` is no arrow"
    );
    assert_eq!(
        graph.arrows[3],
        BTreeSet::from([2]),
        "what `a` re-exports is defined in `c`"
    );
    assert_eq!(graph.circles(), [[2, 3]]);
    assert_eq!(graph.arrows_up(&[2, 3]).len(), 1);
}

#[test]
fn the_fewest_arrows_against_the_order_are_found_in_a_ring_with_a_tail() {
    let arrows = [vec![1], vec![2, 3], vec![0, 3], vec![]]
        .map(|to| to.into_iter().collect())
        .to_vec();
    let graph = Graph {
        files: vec![String::new(); 4],
        arrows,
    };
    assert_eq!(graph.circles(), [[0, 1, 2]]);
    assert_eq!(graph.arrows_up(&[0, 1, 2]).len(), 1);
}

#[test]
fn functions_are_as_long_as_their_lines_of_code() {
    let text = "impl A {\n    pub(super) fn one(\n        a: u8,\n    ) -> u8 {\n\n        a\n    }\n    fn two();\n}\nasync fn three() {}\n";
    assert_eq!(
        functions(&source("a.rs", text)),
        [("one".to_owned(), 5), ("three".to_owned(), 1)]
    );
}

#[test]
fn what_help_shows_is_no_short_documentation() {
    let text = "struct A {\n    /// The file.\n    #[arg(long)]\n    a: u8,\n    /// The file.\n    b: u8,\n}\n";
    assert_eq!(short_docs(&source("a.rs", text)), [6]);
}

#[test]
fn habits_are_counted() {
    let text = "/// Which.\nstruct A;\n/// What it is good for.\nstruct B;\nfn f() {\n    let (a, b) = (1, 2);\n    let (c, d) = pair();\n    if let (Some(a), Some(b)) = (c, d) {}\n    let (Some(e), 1) = (c, d) else { return };\n}\n";
    let source = source("a.rs", text);
    assert_eq!((short_docs(&source), tuple_lets(&source)), (vec![2], 1));
    assert_eq!(
        types(&source),
        BTreeSet::from(["A".to_owned(), "B".to_owned()])
    );
    assert_eq!(
        (percentile(&[3, 1, 2], 50), percentile(&[3, 1, 2], 90)),
        (2, 3)
    );
}
