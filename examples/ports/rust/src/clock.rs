//! How long a step takes, without the JSON around it: `python -m benchmarks.ports` prints it beside Python's.

use crate::codec::Json;
use crate::messages::Outcome;
use crate::{distributor, monitor, server};
use serde_json::{json, Value};
use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

/// Takes every step of standard input so many times over, and prints nanoseconds for a step by machine.
pub fn time_all(rounds: &str) -> ExitCode {
    let timed = rounds.parse().map_err(|_| format!("--time {rounds}: must be a whole number")).and_then(|rounds| {
        let text = io::read_to_string(io::stdin()).map_err(|error| error.to_string())?;
        let steps: Vec<Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        Ok(json!({
            "server": time("server", &steps, rounds, server::step)?,
            "distributor": time("distributor", &steps, rounds, distributor::step)?,
            "monitor": time("monitor", &steps, rounds, monitor::step)?,
        }))
    });
    match timed {
        Ok(timed) => {
            println!("{timed}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::from(2)
        }
    }
}

/// The shortest of the rounds, as others use the processor as well. A step changes its state in place, so the copy of
/// the state that it works on is part of its time.
fn time<State: Json + Clone, Event: Json, Effect>(
    machine: &str,
    steps: &[Value],
    rounds: u32,
    step: fn(&mut State, &Event) -> Outcome<Effect>,
) -> Result<f64, String> {
    let of_machine = steps.iter().filter(|line| line["machine"] == machine);
    let steps = of_machine
        .map(|line| Ok((State::read(&line["state"])?, Event::read(&line["event"])?)))
        .collect::<Result<Vec<_>, String>>()?;
    let round = || {
        let start = Instant::now();
        for (state, event) in &steps {
            let _ = black_box(step(&mut state.clone(), event));
        }
        start.elapsed().as_nanos() as f64 / steps.len().max(1) as f64
    };
    Ok((0..rounds).map(|_| round()).fold(f64::INFINITY, f64::min))
}
