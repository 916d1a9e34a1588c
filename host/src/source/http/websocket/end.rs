//! Why a WebSocket ends, and what the other end is told. No sockets.

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SocketEnd {
    /// The other end left, or cannot be reached; nothing can be told.
    Gone(String),
    /// What it says breaks the rules of WebSockets.
    Broken(String),
    /// A text is no UTF-8.
    NoText,
    /// A message has more than so many bytes.
    TooLarge(usize),
    /// A message came too slowly.
    Slow,
    /// What is on its way in, of all connections, is too much.
    NoRoom,
    /// Something is not safe in time, or its receipt was lost.
    Unsettled,
    /// The gateway ends, or the source does.
    Leaving,
}

impl SocketEnd {
    /// What a failed read or write means.
    pub(super) fn of(error: Error, most_bytes: usize) -> Self {
        match error {
            Error::Capacity(_) => Self::TooLarge(most_bytes),
            Error::Utf8(_) => Self::NoText,
            Error::Protocol(what) if !is_cut(&what) => Self::Broken(what.to_string()),
            Error::ConnectionClosed | Error::AlreadyClosed => {
                Self::Gone("the other end closed it".to_owned())
            }
            error => Self::Gone(error.to_string()),
        }
    }

    /// Whether what was taken before can still be acknowledged.
    pub(super) fn waits_for_acks(&self) -> bool {
        !matches!(self, Self::Gone(_) | Self::Unsettled)
    }

    /// In words, for the other end and for the log.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Gone(why) | Self::Broken(why) => why.clone(),
            Self::NoText => "a text frame is no UTF-8: send bytes in a binary one".to_owned(),
            Self::TooLarge(most) => format!("a message has more than {most} bytes (max_packet)"),
            Self::Slow => "a message came too slowly".to_owned(),
            Self::NoRoom => "too much is on its way in: send again later".to_owned(),
            Self::Unsettled => {
                "not safe in time: send again what has no acknowledgement, later".to_owned()
            }
            Self::Leaving => "the gateway ends: send again what has no acknowledgement".to_owned(),
        }
    }

    /// What the other end is told, where it can be.
    pub(super) fn close_frame(&self) -> Option<CloseFrame> {
        let code = match self {
            Self::Gone(_) => return None,
            Self::Broken(_) => CloseCode::Protocol,
            Self::NoText => CloseCode::Invalid,
            Self::TooLarge(_) => CloseCode::Size,
            Self::Slow => CloseCode::Policy,
            Self::NoRoom | Self::Unsettled => CloseCode::Again,
            Self::Leaving => CloseCode::Away,
        };
        // A close frame has room for 123 bytes of words.
        let words = crate::words::line(&self.words(), 100);
        let words = words[..words.floor_char_boundary(123)].to_owned();
        Some(CloseFrame {
            code,
            reason: words.into(),
        })
    }
}

fn is_cut(error: &tokio_tungstenite::tungstenite::error::ProtocolError) -> bool {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    matches!(
        error,
        ProtocolError::ResetWithoutClosingHandshake
            | ProtocolError::SendAfterClosing
            | ProtocolError::ReceivedAfterClosing
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_is_told_in_a_frame_that_it_can_read() {
        let ends = [
            (SocketEnd::Broken("ä".repeat(500)), 1002),
            (SocketEnd::NoText, 1007),
            (SocketEnd::TooLarge(1 << 20), 1009),
            (SocketEnd::Slow, 1008),
            (SocketEnd::NoRoom, 1013),
            (SocketEnd::Unsettled, 1013),
            (SocketEnd::Leaving, 1001),
        ];
        for (end, code) in ends {
            let frame = end.close_frame().unwrap();
            assert_eq!(u16::from(frame.code), code);
            assert!((1..=123).contains(&frame.reason.as_str().len()), "{frame}");
        }
        assert_eq!(SocketEnd::Gone(String::new()).close_frame(), None);
    }
}
