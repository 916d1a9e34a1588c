//! One WebSocket: reads frames, hands them on as far as there is room, and says what is safe.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::Message;

use super::super::bodies::{Bodies, BodyShare};
use super::super::desk::PostRequest;
use super::super::split::{BodySplit, Unfit};
use super::acks::{SocketAcks, SocketAnswer};
use super::end::SocketEnd;
use super::pace::{DueNow, SocketPace};
use super::rules::SocketRules;
use super::wire::{READ_BYTES, SocketWire, WireNews};
use crate::clock::sleep_until;

/// What is to be handed on next.
enum NextFrames {
    /// The messages of so many frames.
    Taken(u64, Vec<Bytes>),
    Refused(String),
}

pub(super) struct SocketConnection<'a, S> {
    rules: &'a SocketRules,
    bodies: &'a Bodies,
    topic: Bytes,
    properties: Bytes,
    wire: SocketWire<S>,
    pace: SocketPace,
    acks: SocketAcks,
    next: VecDeque<NextFrames>,
    /// What a large message that is on its way holds, until it is handed on.
    share: Option<BodyShare<'a>>,
    /// Nothing is read any more, and why.
    end: Option<SocketEnd>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> SocketConnection<'a, S> {
    pub(super) async fn new(
        stream: S,
        rules: &'a SocketRules,
        bodies: &'a Bodies,
        (topic, properties): (Bytes, Bytes),
    ) -> Self {
        Self {
            rules,
            bodies,
            topic,
            properties,
            wire: SocketWire::new(stream, rules.max_frame_bytes).await,
            pace: SocketPace::new(rules.keep_alive, Instant::now()),
            acks: SocketAcks::default(),
            next: VecDeque::new(),
            share: None,
            end: None,
        }
    }

    /// Serves until it is over; why, in words.
    pub(super) async fn run(mut self, mut leaving: watch::Receiver<bool>) -> String {
        let hand_on = self.rules.hand_on.clone();
        loop {
            if *leaving.borrow_and_update() {
                self.end.get_or_insert(SocketEnd::Leaving);
            }
            self.refuse();
            if let Some(end) = self.over() {
                self.wire.close(&end).await;
                return end.words();
            }
            self.step(&hand_on, &mut leaving).await;
        }
    }

    /// Waits for one thing to happen. Cancel safe.
    async fn step(
        &mut self,
        hand_on: &mpsc::Sender<PostRequest>,
        leaving: &mut watch::Receiver<bool>,
    ) {
        let now = Instant::now();
        let hands_on = !self.next.is_empty();
        let reads = self.end.is_none() && !hands_on && self.acks.has_room();
        self.pace.pause(!reads, now);
        self.pace.writes(self.wire.is_writing(), now);
        let due = self.pace.due();
        let is_quiet = !self.wire.is_writing();
        let Self {
            wire,
            pace,
            acks,
            share,
            ..
        } = self;
        tokio::select! {
            biased;
            news = poll_fn(|cx| wire.poll(cx, pace, reads)), if reads || !is_quiet => self.met(news),
            permit = hand_on.reserve(), if hands_on => match permit {
                Ok(permit) => self.hand_on(permit),
                Err(_) => self.end = Some(SocketEnd::Gone("the source ends".to_owned())),
            },
            answer = acks.next(), if is_quiet && !acks.is_empty() => self.say(&answer),
            () = gives_way(share.as_ref()), if reads => self.end = Some(SocketEnd::NoRoom),
            // An error means that the source ends, which is said by it as well.
            _ = leaving.changed(), if self.end.is_none() => {}
            () = sleep_until(due) => self.look(),
        }
    }

    /// Why it is over, once nothing is left to do.
    fn over(&mut self) -> Option<SocketEnd> {
        let end = self.end.as_ref()?;
        let is_done = self.next.is_empty()
            && (!end.waits_for_acks() || (self.acks.is_empty() && !self.wire.is_writing()));
        self.end.take_if(|_| is_done)
    }

    fn met(&mut self, news: WireNews) {
        let now = Instant::now();
        self.pace.heard(self.wire.came(), now);
        let messages = self.wire.take();
        if !messages.is_empty() {
            self.prepare(messages);
        }
        match news {
            WireNews::Came => self.keep_room(now),
            WireNews::Written => {}
            WireNews::Ended(end) => {
                // What went before stays the reason.
                if self.end.as_ref().is_none_or(SocketEnd::waits_for_acks) {
                    self.end = Some(end);
                }
            }
        }
    }

    /// What is on its way in counts with that of all others.
    fn keep_room(&mut self, now: Instant) {
        let half = usize::try_from(self.pace.half()).unwrap_or(usize::MAX);
        if half <= READ_BYTES {
            return;
        }
        let bodies = self.bodies;
        let share = self.share.get_or_insert_with(|| bodies.enter(now));
        if !share.grow(half, now) {
            self.end = Some(SocketEnd::NoRoom);
        }
    }

    /// From frames to messages: those that go on together, and those that are refused in between.
    fn prepare(&mut self, frames: Vec<Bytes>) {
        let most = match self.rules.split {
            // A longer one is a dead letter, by its head.
            BodySplit::None => usize::MAX,
            _ => self.rules.max_payload_bytes,
        };
        for frame in frames {
            let parts = self.rules.split.parts(frame, most);
            match (parts, self.next.back_mut()) {
                (Ok(parts), Some(NextFrames::Taken(count, messages))) => {
                    *count += 1;
                    messages.extend(parts);
                }
                (Ok(parts), _) => self.next.push_back(NextFrames::Taken(1, parts)),
                (Err(Unfit::Malformed(why) | Unfit::TooLarge(why)), _) => {
                    self.next.push_back(NextFrames::Refused(why));
                }
            }
        }
    }

    /// What is refused goes nowhere.
    fn refuse(&mut self) {
        while let Some(refused) = self
            .next
            .pop_front_if(|next| matches!(next, NextFrames::Refused(_)))
        {
            if let NextFrames::Refused(why) = refused {
                self.acks.refused(why);
            }
        }
    }

    fn hand_on(&mut self, permit: mpsc::Permit<'_, PostRequest>) {
        let Some(NextFrames::Taken(count, payloads)) = self.next.pop_front() else {
            return;
        };
        let message = |payload| (payload, self.properties.clone());
        let (answer, answered) = oneshot::channel();
        permit.send(PostRequest {
            topic: self.topic.clone(),
            messages: payloads.into_iter().map(message).collect(),
            answer,
        });
        self.acks.taken(count, answered);
        if self.next.is_empty() {
            self.share = None;
        }
    }

    fn say(&mut self, answer: &SocketAnswer) {
        if *answer == SocketAnswer::Never {
            self.end = Some(SocketEnd::Unsettled);
            self.next.clear();
            return;
        }
        for frame in answer.frames() {
            if let Err(end) = self.wire.say(Message::text(frame)) {
                self.end = Some(end);
                return;
            }
        }
    }

    fn look(&mut self) {
        match self.pace.look(Instant::now()) {
            None => {}
            Some(DueNow::Ping) => {
                if let Err(end) = self.wire.say(Message::Ping(Bytes::new())) {
                    self.end = Some(end);
                }
            }
            Some(DueNow::End(end)) => self.end = Some(end),
        }
    }
}

/// Waits until what is on its way in has to give way. Cancel safe.
async fn gives_way(share: Option<&BodyShare<'_>>) {
    match share {
        Some(share) => share.gives_way().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use std::time::Duration;
    use tokio::io::DuplexStream;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::super::super::answer::RequestOutcome;
    use super::*;

    struct Scene {
        client: WebSocketStream<DuplexStream>,
        taken: mpsc::Receiver<PostRequest>,
        leaving: watch::Sender<bool>,
        ended: tokio::task::JoinHandle<String>,
    }

    async fn scene(split: BodySplit) -> Scene {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (hand_on, taken) = mpsc::channel(1);
        let (leaving, told) = watch::channel(false);
        let rules = SocketRules {
            split,
            max_payload_bytes: 1_000,
            max_frame_bytes: 10_000,
            keep_alive: Duration::from_secs(60),
            hand_on,
        };
        let ended = tokio::spawn(async move {
            let bodies = Bodies::new(1 << 20);
            let whose = (Bytes::from_static(b"a/b"), Bytes::new());
            let connection = SocketConnection::new(server, &rules, &bodies, whose).await;
            connection.run(told).await
        });
        Scene {
            client: WebSocketStream::from_raw_socket(client, Role::Client, None).await,
            taken,
            leaving,
            ended,
        }
    }

    impl Scene {
        /// Takes so many messages, and answers each of what came together.
        async fn settle(&mut self, count: usize) -> Vec<Bytes> {
            let mut all = Vec::new();
            while all.len() < count {
                let post = self.taken.recv().await.unwrap();
                assert_eq!(post.topic, "a/b");
                all.extend(post.messages.into_iter().map(|(payload, _)| payload));
                post.answer.send(RequestOutcome::Settled).unwrap();
            }
            all
        }

        /// What the client hears next: a text, or the code of a close.
        async fn hear(&mut self) -> String {
            match self.client.next().await {
                Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
                Some(Ok(Message::Close(Some(frame)))) => u16::from(frame.code).to_string(),
                other => format!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn text_and_bytes_become_messages_and_each_is_acknowledged_by_its_number() {
        let mut scene = scene(BodySplit::None).await;
        scene.client.feed(Message::text("one")).await.unwrap();
        let bytes = Message::binary(vec![0xff, 0]);
        scene.client.send(bytes).await.unwrap();
        assert_eq!(scene.settle(2).await, [&b"one"[..], b"\xff\0"]);
        assert_eq!(scene.hear().await, "{\"ack\":1}");
        assert_eq!(scene.hear().await, "{\"ack\":2}");
        scene.leaving.send(true).unwrap();
        assert_eq!(scene.hear().await, "1001");
        assert!(scene.ended.await.unwrap().contains("the gateway ends"));
    }

    #[tokio::test]
    async fn what_was_taken_before_an_end_is_acknowledged_before_it_is_said() {
        let mut scene = scene(BodySplit::None).await;
        scene.client.feed(Message::text("one")).await.unwrap();
        let large = Message::binary(vec![0; 20_000]);
        scene.client.send(large).await.unwrap();
        let post = scene.taken.recv().await.unwrap();
        post.answer.send(RequestOutcome::Settled).unwrap();
        assert_eq!(scene.hear().await, "{\"ack\":1}");
        assert_eq!(scene.hear().await, "1009");
    }

    #[tokio::test]
    async fn a_frame_that_is_no_batch_is_refused_in_its_place_and_the_next_one_goes_on() {
        let mut scene = scene(BodySplit::Ndjson).await;
        for text in ["1\n2", "no json", "", "3"] {
            scene.client.feed(Message::text(text)).await.unwrap();
        }
        scene.client.flush().await.unwrap();
        assert_eq!(scene.settle(3).await, ["1", "2", "3"]);
        assert_eq!(scene.hear().await, "{\"ack\":1}");
        let refused = scene.hear().await;
        assert!(
            refused.starts_with("{\"refused\":2,\"why\":\"line 1"),
            "{refused}"
        );
        assert_eq!(scene.hear().await, "{\"ack\":3}");
        assert_eq!(scene.hear().await, "{\"ack\":4}");
    }

    #[tokio::test]
    async fn what_can_get_no_acknowledgement_ends_it() {
        let mut scene = scene(BodySplit::None).await;
        scene.client.send(Message::text("one")).await.unwrap();
        drop(scene.taken.recv().await.unwrap());
        assert_eq!(scene.hear().await, "1013");
    }

    #[tokio::test]
    async fn what_breaks_the_rules_ends_it_with_their_code() {
        use tokio::io::AsyncWriteExt;
        for (bytes, code) in [
            (&[0x81, 0x01, 0x61][..], "1002"),
            (&[0xf1, 0x81, 0, 0, 0, 0, 0x61], "1002"),
            (&[0x81, 0x81, 0, 0, 0, 0, 0xff], "1007"),
            (&[0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "1009"),
        ] {
            let mut scene = scene(BodySplit::None).await;
            scene.client.get_mut().write_all(bytes).await.unwrap();
            assert_eq!(scene.hear().await, code, "{bytes:x?}");
        }
    }

    #[tokio::test]
    async fn no_more_is_read_than_may_be_unanswered() {
        let mut scene = scene(BodySplit::None).await;
        let (mut to, mut from) = scene.client.split();
        let sent = tokio::spawn(async move {
            for number in 0..1_000 {
                to.send(Message::text(number.to_string())).await.unwrap();
            }
        });
        let mut held = Vec::new();
        let mut taken = 0;
        while taken < super::super::rules::UNANSWERED as usize {
            let post = scene.taken.recv().await.unwrap();
            taken += post.messages.len();
            held.push(post.answer);
        }
        assert!(
            taken < super::super::rules::UNANSWERED as usize + 64
                && scene.taken.try_recv().is_err()
        );
        for answer in held {
            answer.send(RequestOutcome::Settled).unwrap();
        }
        let answers = tokio::spawn(async move {
            while let Some(post) = scene.taken.recv().await {
                post.answer.send(RequestOutcome::Settled).unwrap();
            }
        });
        for number in 1..=1_000 {
            let heard = from.next().await.unwrap().unwrap();
            assert_eq!(heard, Message::text(format!("{{\"ack\":{number}}}")));
        }
        sent.await.unwrap();
        answers.abort();
    }
}
