//! The endpoint in an Application Server: it answers hand-offs, and counts its clients.
//!
//! Written from section 3 of `spec/start.md`; the ids in comments are those of `spec/requirements.toml`.

use crate::messages::*;
use crate::{record, union};
use std::collections::{BTreeMap, BTreeSet};

record! {
    /// A port that the program has bound.
    VirtualListener {
        listening: bool,
        /// The incarnation of an `InitialMsg` that came while the program did not listen; 0: none is owed an answer.
        asked: i64,
    }
}

record! {
    State {
        listeners: BTreeMap<Port, VirtualListener>,
        /// Those whom the program has, or is about to have.
        clients: BTreeSet<Client>,
        /// The number of the last count that was issued.
        sequence: i64,
        /// What is to be sent, in the order in which it was issued (OWN-3.3k).
        outbox: Vec<Reply>,
    }
}

record! {
    /// What is to be sent on the dialog of a port.
    Reply { port: Port, message: FromServer }
}

record! { Acknowledgement { sequence: i64 } }

union! {
    Event {
        /// The program's `bind` has succeeded.
        Bound { port: Port },
        Listened { port: Port },
        ListenerClosed { port: Port },
        /// `intact`: the descriptor of the hand-off has come with it.
        MessageRead { port: Port, message: ToServer, intact: bool },
        /// The message is in the socket.
        Sent { reply: Reply },
        /// The last reference to the client's connection is closed.
        Disconnected { client: Client },
        Acknowledged { message: Acknowledgement },
        /// A process of the server died while it was busy with the dialog: with `reply` if it was sending that, else
        /// it may have been reading.
        Interrupted { port: Port, reply: Option<Reply> },
    }
}

union! {
    Effect {
        /// Now the program's `accept` returns the connection.
        Deliver { client: Client },
        /// Close what has come with the hand-off.
        Discard { client: Client },
    }
}

/// Whether the event may happen in this state; if not, why.
pub fn guard(state: &State, event: &Event) -> Result<(), Reason> {
    let bound = |port: &Port| require(state.listeners.contains_key(port), Reason::NOT_BOUND);
    match event {
        Event::Bound { .. } | Event::Acknowledged { .. } => Ok(()),
        Event::Listened { port } | Event::ListenerClosed { port } => bound(port),
        Event::MessageRead { port, message, .. } => {
            if let ToServer::HandOff { client } = message {
                require(client.port == *port, Reason::OTHER_PORT)?;
            }
            bound(port)
        }
        Event::Sent { reply } => require(state.is_next(reply), Reason::NOT_NEXT),
        Event::Disconnected { client } => {
            // Also who is to be forgotten meanwhile is not delivered yet.
            require(!state.to_be_accepted().contains(client), Reason::NOT_DELIVERED)?;
            require(state.clients.contains(client), Reason::UNKNOWN_CLIENT)
        }
        Event::Interrupted { port, reply } => {
            if let Some(reply) = reply {
                require(reply.port == *port && state.is_next(reply), Reason::NOT_NEXT)?;
            }
            bound(port)
        }
    }
}

/// Takes the event, or rejects it and changes nothing.
pub fn step(state: &mut State, event: &Event) -> Outcome<Effect> {
    guard(state, event)?;
    let mut effects = Vec::new();
    match event.clone() {
        Event::Bound { port } => {
            state.listeners.entry(port).or_insert(VirtualListener { listening: false, asked: 0 });
        }
        Event::Listened { port } => {
            // Rule 6: who has asked meanwhile is owed a RestartReply (OWN-3.4a).
            let asked = state.listen(port, true);
            if asked != 0 {
                state.issue(port, |count| FromServer::RestartReply { incarnation: asked, count });
            }
        }
        Event::ListenerClosed { port } => {
            // Rule 7 (OWN-3.4c).
            state.listen(port, false);
            state.issue(port, |count| FromServer::NotReady { incarnation: 0, count });
        }
        Event::MessageRead { port, message: ToServer::InitialMsg { incarnation, forget }, .. } => {
            for client in &forget {
                state.clients.remove(client);
            }
            let listener = state.listener(port);
            if listener.listening {
                state.issue(port, |count| FromServer::RestartReply { incarnation, count });
            } else {
                listener.asked = incarnation;
                state.issue(port, |count| FromServer::NotReady { incarnation, count });
            }
        }
        Event::MessageRead { port, message: ToServer::HandOff { client }, intact } => {
            // Rules 1 and 2: nothing is delivered before the answer is in the socket (OWN-3.3i).
            if intact && state.listener(port).listening {
                state.clients.insert(client.clone());
                state.issue(port, |count| FromServer::Accepted { client, count });
            } else {
                effects.push(Effect::Discard { client: client.clone() });
                state.issue(port, |count| FromServer::Refused { client, count });
            }
        }
        Event::Sent { reply } => {
            state.take_out(&reply);
            if let FromServer::Accepted { client, .. } = reply.message {
                effects.push(Effect::Deliver { client });
            }
        }
        Event::Disconnected { client } => {
            state.clients.remove(&client);
            state.issue(client.port, |count| FromServer::Disconnect { client, count });
        }
        Event::Acknowledged { .. } => {}
        Event::Interrupted { port, reply } => state.interrupt(port, reply),
    }
    Ok(effects)
}

impl State {
    /// Of a port that is bound, which the guard has asked.
    fn listener(&mut self, port: Port) -> &mut VirtualListener {
        self.listeners.get_mut(&port).expect("the guard has asked whether the port is bound")
    }

    /// Notes whether the program listens, and gives the incarnation that was owed an answer.
    fn listen(&mut self, port: Port, listening: bool) -> i64 {
        std::mem::replace(self.listener(port), VirtualListener { listening, asked: 0 }).asked
    }

    /// Whether the reply is the first to be sent on its dialog.
    fn is_next(&self, reply: &Reply) -> bool {
        self.outbox.iter().find(|other| other.port == reply.port) == Some(reply)
    }

    /// Those of whom `Accepted` is to be sent: the program does not have them yet.
    fn to_be_accepted(&self) -> Vec<Client> {
        let client = |reply: &Reply| match &reply.message {
            FromServer::Accepted { client, .. } => Some(client.clone()),
            _ => None,
        };
        self.outbox.iter().filter_map(client).collect()
    }

    fn take_out(&mut self, reply: &Reply) {
        if let Some(at) = self.outbox.iter().position(|other| other == reply) {
            self.outbox.remove(at);
        }
    }

    /// Puts a message with the present count into the outbox, in place of what it makes out of date (OWN-3.3a, k).
    fn issue(&mut self, port: Port, message: impl FnOnce(Count) -> FromServer) {
        self.sequence += 1;
        let message = message(Count { clients: self.clients.len() as i64, sequence: self.sequence });
        self.outbox.retain(|other| other.port != port || !is_superseded(&other.message, &message));
        self.outbox.push(Reply { port, message });
    }

    /// Finishes what a process that died was doing with a dialog (OWN-3.3j).
    fn interrupt(&mut self, port: Port, reply: Option<Reply>) {
        if let Some(reply) = &reply {
            self.take_out(reply);
        }
        // Whoever was to be delivered to the dead process is lost to it, and refused.
        let mut refused = self.to_be_accepted();
        self.outbox.retain(|other| !matches!(other.message, FromServer::Accepted { .. }));
        match reply {
            None => self.reading_was_interrupted(port, refused),
            Some(reply) => {
                if let FromServer::Accepted { client, .. } = &reply.message {
                    refused.insert(0, client.clone());
                }
                self.refuse(refused);
                self.repeat(reply);
            }
        }
    }

    fn reading_was_interrupted(&mut self, port: Port, refused: Vec<Client>) {
        self.refuse(refused);
        self.listener(port).asked = 0;
        self.issue(port, |count| FromServer::NotReady { incarnation: 0, count });
    }

    fn refuse(&mut self, clients: Vec<Client>) {
        for client in clients {
            self.clients.remove(&client);
            self.issue(client.port, |count| FromServer::Refused { client, count });
        }
    }

    /// Sends again, with the present count, what may be in the socket or not.
    fn repeat(&mut self, reply: Reply) {
        let port = reply.port;
        match reply.message {
            FromServer::Accepted { .. } => {}
            FromServer::Refused { .. } => {
                self.listener(port).asked = 0;
                self.issue(port, |count| FromServer::NotReady { incarnation: 0, count });
            }
            FromServer::Disconnect { client, .. } => {
                self.issue(port, |count| FromServer::Disconnect { client, count });
            }
            FromServer::RestartReply { incarnation, .. } => {
                self.issue(port, |count| FromServer::RestartReply { incarnation, count });
            }
            FromServer::NotReady { incarnation, .. } => {
                self.issue(port, |count| FromServer::NotReady { incarnation, count });
            }
        }
    }
}

/// Of several on one dialog, only the last `Disconnect` has to be sent, and only the last that says whether the program
/// listens (`spec/start.md`, section 4).
fn is_superseded(old: &FromServer, new: &FromServer) -> bool {
    let says_whether_it_listens =
        |message: &FromServer| matches!(message, FromServer::RestartReply { .. } | FromServer::NotReady { .. });
    let is_disconnect = |message: &FromServer| matches!(message, FromServer::Disconnect { .. });
    (says_whether_it_listens(old) && says_whether_it_listens(new)) || (is_disconnect(old) && is_disconnect(new))
}
