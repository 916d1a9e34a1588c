//! A seat whose lane works on the test's own thread: it waits here until it is called.

use loom::sync::{Condvar, Mutex};

#[derive(Default)]
pub struct Seat {
    is_called: Mutex<bool>,
    bell: Condvar,
}

impl Seat {
    pub fn call(&self) {
        *self.is_called.lock().unwrap() = true;
        self.bell.notify_one();
    }

    pub fn wait(&self) {
        let mut is_called = self.is_called.lock().unwrap();
        while !std::mem::take(&mut *is_called) {
            is_called = self.bell.wait(is_called).unwrap();
        }
    }
}
