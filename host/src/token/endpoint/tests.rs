use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex as StdMutex, mpsc};

use super::*;

/// An endpoint that answers each request with the next of these, and hands out what it was asked; one of `None` says nothing.
struct Endpoint {
    port: u16,
    asked: mpsc::Receiver<String>,
}

impl Endpoint {
    fn answering(answers: Vec<Option<&'static str>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (told, asked) = mpsc::sync_channel(64);
        let answers = Arc::new(StdMutex::new(VecDeque::from(answers)));
        std::thread::spawn(move || {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !is_whole(&request) {
                    match stream.read(&mut buffer) {
                        Ok(read) if read > 0 => request.extend(&buffer[..read]),
                        _ => break,
                    }
                }
                if told.send(String::from_utf8(request).unwrap()).is_err() {
                    return;
                }
                match answers.lock().unwrap().pop_front().flatten() {
                    Some(answer) => drop(stream.write_all(answer.as_bytes())),
                    None => open.push(stream),
                }
            }
        });
        Self { port, asked }
    }

    fn request(&self) -> TokenRequest {
        TokenRequest {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls: None,
            path: "/oauth/token?a=b".to_owned(),
            client: "barn 7".to_owned(),
            secret: Secret::new("s3cr:et"),
            login: EndpointLogin::Basic,
            scope: Some("write:all".to_owned()),
            audience: None,
            deadlines: Deadlines::default(),
        }
    }

    fn times_asked(&self) -> usize {
        self.asked.try_iter().count()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.split("content-length: ").nth(1).unwrap();
    body.len() >= length.lines().next().unwrap().parse::<usize>().unwrap()
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"access_token\":\"t1\",\"token_type\":\"Bearer\",\"expires_in\":600}";
const OTHER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 48\r\n\r\n{\"access_token\":\"t2\",\"expires_in\":\"600\",\"a\":\"b\"}";
/// By one that repeats what it was asked, in all its forms.
const REFUSED: &str = "HTTP/1.1 401 no\r\nconnection: close\r\n\r\n{\"error\":\"invalid_client\",\"error_description\":\"no: s3cr:et s3cr%3Aet YmFybiUyMDc6czNjciUzQWV0\"}";
const TROUBLE: &str =
    "HTTP/1.1 500 oh\r\nretry-after: 9\r\nconnection: close\r\n\r\n<html>sorry</html>";

#[tokio::test]
async fn a_token_is_asked_for_in_a_form_and_kept_while_it_is_good() {
    let endpoint = Endpoint::answering(vec![Some(GOOD), Some(OTHER)]);
    let tokens = TokenEndpoint::new(endpoint.request());
    let both = tokio::join!(tokens.token(), tokens.token());
    assert_eq!(&*both.0.unwrap().text, "t1");
    assert_eq!(&*both.1.unwrap().text, "t1");
    let asked = endpoint.asked.recv().unwrap();
    let head = asked.to_lowercase();
    assert!(
        asked.starts_with("POST /oauth/token?a=b HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(
        head.contains("host: 127.0.0.1:") && head.contains("form-urlencoded"),
        "{asked}"
    );
    let login = BASE64_STANDARD.encode("barn%207:s3cr%3Aet");
    assert!(asked.contains(&format!("Basic {login}")), "{asked}");
    assert!(
        asked.ends_with("\r\n\r\ngrant_type=client_credentials&scope=write%3Aall"),
        "{asked}"
    );
    assert_eq!(endpoint.times_asked(), 0, "asked twice");
    // Whoever was refused with it asks for another one.
    tokens.refused();
    assert_eq!(&*tokens.token().await.unwrap().text, "t2");
    assert!(!format!("{tokens:?}").contains("s3cr"));
}

#[tokio::test]
async fn a_secret_goes_in_the_body_where_that_is_wanted() {
    let endpoint = Endpoint::answering(vec![Some(GOOD)]);
    let tokens = TokenEndpoint::new(TokenRequest {
        login: EndpointLogin::Body,
        audience: Some("https://api".to_owned()),
        scope: None,
        ..endpoint.request()
    });
    tokens.token().await.unwrap();
    let asked = endpoint.asked.recv().unwrap();
    let body = "grant_type=client_credentials&client_id=barn%207&client_secret=s3cr%3Aet&audience=https%3A%2F%2Fapi";
    assert!(asked.ends_with(body) && !asked.contains("Basic"), "{asked}");
}

#[tokio::test]
async fn a_refusal_a_trouble_garbage_and_silence_each_have_their_words() {
    let endless =
        Box::leak(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(70_000)).into_boxed_str());
    let garbage = "SSH-2.0-OpenSSH_9\r\n";
    let answers = vec![
        Some(REFUSED),
        Some(TROUBLE),
        Some(garbage),
        Some(endless),
        Some(""),
        None,
    ];
    let endpoint = Endpoint::answering(answers);
    let tokens = TokenEndpoint::new(endpoint.request());
    let expected = [
        (
            FailureKind::Refused,
            "401 (invalid_client: no: *** *** ***)",
        ),
        (FailureKind::Passing, "answers 500; it is asked again"),
        (FailureKind::Passing, "does not speak HTTP"),
        (FailureKind::Passing, "longer than any token"),
        (FailureKind::Passing, "hung up"),
    ];
    for (kind, words) in expected {
        let error = tokens.token().await.unwrap_err();
        let said = error.to_string();
        assert!(error.kind() == kind && said.contains(words), "{said}");
        assert!(!said.contains("s3cr"), "{said}");
    }
    let silent = TokenEndpoint::new(TokenRequest {
        deadlines: Deadlines {
            answer: Duration::from_millis(100),
            ..Deadlines::default()
        },
        ..endpoint.request()
    });
    let error = silent.token().await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Passing);
    assert!(
        error.to_string().contains("did not answer within"),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address() {
    let endpoint = Endpoint::answering(Vec::new());
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let tokens = TokenEndpoint::new(TokenRequest {
        port,
        ..endpoint.request()
    });
    let error = tokens.token().await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotThere);
    assert!(error.to_string().contains("token endpoint"), "{error}");
}

#[tokio::test]
async fn the_last_token_is_used_while_it_is_good_and_no_new_one_comes() {
    let endpoint = Endpoint::answering(vec![Some(TROUBLE), Some(TROUBLE), Some(OTHER)]);
    let tokens = TokenEndpoint::new(endpoint.request());
    let old = |left: Duration| FreshToken {
        text: "old".into(),
        life: TokenLife {
            renews_at: Instant::now(),
            ends_at: Instant::now() + left,
        },
    };
    tokens.kept.lock().await.last = Some(old(Duration::from_secs(100)));
    let used = tokens.token().await.unwrap();
    let left = used.life.renews_at.duration_since(Instant::now());
    assert!(
        &*used.text == "old" && left > Duration::from_secs(25),
        "{left:?}"
    );
    assert_eq!(&*tokens.token().await.unwrap().text, "old");
    assert_eq!(endpoint.times_asked(), 1, "it is not left alone");
    tokens.kept.lock().await.last = Some(old(Duration::from_secs(1)));
    assert!(tokens.token().await.is_err());
    assert_eq!(&*tokens.token().await.unwrap().text, "t2");
}

#[tokio::test]
async fn while_an_endpoint_says_nothing_the_last_token_is_used_and_a_late_one_is_taken() {
    let endpoint = Endpoint::answering(vec![None]);
    let tokens = TokenEndpoint::new(endpoint.request());
    let token = |text: &str, left| FreshToken {
        text: text.into(),
        life: TokenLife {
            renews_at: Instant::now(),
            ends_at: Instant::now() + left,
        },
    };
    let long = Duration::from_secs(100);
    tokens.kept.lock().await.last = Some(token("old", long));
    // The endpoint would be waited for much longer, were there no other.
    for _ in 0..2 {
        assert_eq!(&*tokens.token().await.unwrap().text, "old");
        assert!(tokens.kept.lock().await.next.is_some());
    }
    assert_eq!(endpoint.times_asked(), 1);
    for (late, expected) in [
        (token("late", long), "late"),
        (token("gone", Duration::ZERO), "t2"),
    ] {
        let endpoint = Endpoint::answering(vec![Some(OTHER)]);
        let tokens = TokenEndpoint::new(endpoint.request());
        let fetched = tokio::spawn(async { Ok(late) });
        while !fetched.is_finished() {
            tokio::task::yield_now().await;
        }
        tokens.kept.lock().await.next = Some(fetched);
        assert_eq!(&*tokens.token().await.unwrap().text, expected);
    }
}

#[test]
fn what_differs_in_its_secret_alone_is_the_same_only_by_its_file() {
    let endpoint = Endpoint::answering(Vec::new());
    let made = |secret| {
        Secret::made_by(Arc::new(TokenEndpoint::new(TokenRequest {
            secret,
            ..endpoint.request()
        })))
    };
    assert!(made(Secret::in_file("a")) == made(Secret::in_file("a")));
    assert!(made(Secret::in_file("a")) != made(Secret::in_file("b")));
}
