use super::*;

#[test]
fn what_somebody_else_named_is_cut_and_cleaned() {
    let long = "x".repeat(900_000);
    let text = ConfigText {
        name: "a\x1b[2J.toml".into(),
        content: format!("b = 1\n{long} = 1\n"),
    };
    let place = Place::at(0, 6..6 + long.len());
    let problem = Problem {
        code: ProblemCode::UnknownKey,
        message: format!("unknown key `{long}`"),
        hint: Some("\x1b[2J".into()),
        place,
    };
    let problems = Problems::new([text].into(), vec![problem]);
    for shown in [problems.render(false), problems.to_json().to_string()] {
        assert!(
            shown.len() < 20_000 && !shown.contains('\x1b') && !shown.contains("\\u001b"),
            "{} bytes",
            shown.len()
        );
    }
    assert!(
        problems.render(false).contains(":2:1"),
        "{}",
        problems.render(false)
    );
}

fn problems(content: &str, span: Range<usize>) -> Problems {
    let text = ConfigText {
        name: "a.toml".into(),
        content: content.into(),
    };
    let problem = Problem {
        code: ProblemCode::UnknownKey,
        message: "unknown key `qso`".into(),
        hint: Some("did you mean `qos`?".into()),
        place: Place::at(0, span),
    };
    Problems::new([text].into(), vec![problem])
}

#[test]
fn a_problem_shows_its_line_with_a_caret_and_the_hint() {
    let expected = "error[TG0102]: unknown key `qso`\n --> a.toml:2:1\n  |\n2 | qso = 1\n  | ^^^ did you mean `qos`?\n\n1 error\n";
    assert_eq!(problems("a = 1\nqso = 1\n", 6..9).render(false), expected);
}

#[test]
fn columns_count_characters_and_json_has_the_same_place() {
    let json = problems("a = { ü = 1, qso = 1 }\n", 14..17).to_json();
    let problem = &json["problems"][0];
    assert_eq!(
        (&problem["line"], &problem["column"], &problem["code"]),
        (&json!(1), &json!(14), &json!("TG0102"))
    );
}

#[test]
fn masked_bytes_keep_their_number() {
    let mut text = ConfigText {
        name: String::new(),
        content: "p = \"sécret\"\nq = 1".into(),
    };
    text.mask_all(&[0..0, 4..13]);
    assert_eq!(text.content, "p = *********\nq = 1");
}
