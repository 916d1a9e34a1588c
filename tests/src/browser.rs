//! A browser that a test operates: Chromium without a window, spoken to over its debugging pipe.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wait::PATIENCE;

/// Hands the pipes over at the numbers where Chromium looks for them.
const PIPES: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null";

/// What Chromium is called here, if it is here.
pub fn chromium() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
}

/// One page of one browser, which ends with it.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
    session: Option<String>,
    asked: u64,
    _profile: TempDir,
}

impl Browser {
    /// Opens the page at this address.
    pub fn open(address: &str) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let name = chromium().context("there is no Chromium")?;
        let mut child = Command::new("sh")
            .args([
                "-c",
                PIPES,
                name,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no pipe")?;
        let output = child.stdout.take().context("no pipe")?;
        let (told, answers) = sync_channel(1_000);
        std::thread::spawn(move || {
            let said = BufReader::new(output).split(0).map_while(Result::ok);
            for message in said.filter_map(|said| serde_json::from_slice(&said).ok()) {
                if told.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            input,
            answers,
            session: None,
            asked: 0,
            _profile: profile,
        };
        let made = browser.ask("Target.createTarget", json!({ "url": address }))?;
        let page = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", page)?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        Ok(browser)
    }

    /// What a script of the page comes to.
    pub fn evaluate(&mut self, script: &str) -> Result<Value> {
        let what = json!({ "expression": script, "returnByValue": true });
        let mut said = self.ask("Runtime.evaluate", what)?;
        if said.get("exceptionDetails").is_some() {
            bail!("{script}: {said}");
        }
        Ok(said["result"]["value"].take())
    }

    /// Types a text into whatever has the focus.
    pub fn write(&mut self, text: &str) -> Result<()> {
        self.ask("Input.insertText", json!({ "text": text }))?;
        Ok(())
    }

    /// Presses a key that has a name, and this number.
    pub fn press(&mut self, key: &str, number: u32) -> Result<()> {
        for kind in ["keyDown", "keyUp"] {
            let text = if key == "Enter" { "\r" } else { "" };
            let what = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": number, "text": text
            });
            self.ask("Input.dispatchKeyEvent", what)?;
        }
        Ok(())
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.input.write_all(message.to_string().as_bytes())?;
        self.input.write_all(&[0])?;
        loop {
            let answer = self.answers.recv_timeout(PATIENCE);
            let mut answer = answer.with_context(|| format!("no answer to {method}"))?;
            if answer["id"] != self.asked {
                continue;
            }
            if answer.get("error").is_some() {
                bail!("{method}: {answer}");
            }
            return Ok(answer["result"].take());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It closes all its processes; one that does not is ended.
        let _ = self.ask("Browser.close", json!({}));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
