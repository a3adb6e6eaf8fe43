//! A testee for step vectors: it reads a step a line, takes it and writes what comes of it.
//!
//! A line in has `machine`, `state` and `event`, as in `spec/vectors/README.md`. A line out has `state` and `effects`,
//! or `rejected`. Without a `state` the machine goes on from the state in which its last step left it, as in a trace.
//! With `--time ROUNDS` it times the steps instead.

mod clock;
mod codec;
mod distributor;
mod messages;
mod monitor;
mod server;

use codec::Json;
use messages::Outcome;
use serde_json::{json, Value};
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

/// The states in which the last steps left the machines.
#[derive(Default)]
struct Machines {
    server: Option<server::State>,
    distributor: Option<distributor::State>,
    monitor: Option<monitor::State>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => answer_all(),
        ["--time", rounds] => clock::time_all(rounds),
        _ => {
            eprintln!("usage: maitred-steps [--time ROUNDS] <STEPS.jsonl");
            ExitCode::from(2)
        }
    }
}

fn answer_all() -> ExitCode {
    let mut machines = Machines::default();
    let mut out = io::stdout().lock();
    for (number, line) in io::stdin().lock().lines().enumerate() {
        let answer = line.map_err(|error| error.to_string()).and_then(|line| machines.answer(&line));
        let written = match answer {
            Ok(answer) => writeln!(out, "{answer}").and_then(|()| out.flush()),
            Err(wrong) => {
                eprintln!("standard input, line {}: {wrong}", number + 1);
                return ExitCode::from(2);
            }
        };
        if written.is_err() {
            return ExitCode::FAILURE; // nobody reads the answers any more
        }
    }
    ExitCode::SUCCESS
}

impl Machines {
    fn answer(&mut self, line: &str) -> Result<Value, String> {
        let json: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        match json.get("machine").and_then(Value::as_str) {
            Some("server") => take(&json, &mut self.server, server::step),
            Some("distributor") => take(&json, &mut self.distributor, distributor::step),
            Some("monitor") => take(&json, &mut self.monitor, monitor::step),
            _ => Err("machine must be \"server\", \"distributor\" or \"monitor\"".to_owned()),
        }
    }
}

fn take<State: Json, Event: Json, Effect: Json>(
    json: &Value,
    kept: &mut Option<State>,
    step: fn(&mut State, &Event) -> Outcome<Effect>,
) -> Result<Value, String> {
    if let Some(state) = json.get("state") {
        *kept = Some(State::read(state).map_err(|wrong| format!("state: {wrong}"))?);
    }
    let state = kept.as_mut().ok_or("state is missing, and no step came before")?;
    let event = Event::read(&json["event"]).map_err(|wrong| format!("event: {wrong}"))?;
    Ok(match step(state, &event) {
        Ok(effects) => json!({"state": state.write(), "effects": effects.write()}),
        Err(reason) => json!({"rejected": reason.write()}),
    })
}
