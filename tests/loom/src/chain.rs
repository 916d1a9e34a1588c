//! As the host's module of this name, as far as an inbox needs it. What commands carry is nothing here.

#[expect(dead_code, reason = "a part of it is for others")]
#[path = "../../../host/src/chain/lane/inbox.rs"]
mod inbox;
pub mod inboxes;

mod item {
    pub struct ReturnedLetter;
}

mod leave {
    pub struct Leave;
}

pub mod pool;

mod live {
    pub struct Live;
}

mod sandbox {
    pub mod state {
        pub struct Snapshot;
    }
}

mod trial {
    pub struct Trial;
}
