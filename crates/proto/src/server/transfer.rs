//! What an answered question and arriving content do to a session (RFC 5321 §4.1.1.4, RFC 3030).

use super::Question;
use super::content::{Chunk, Receiving};
use super::offer::Protocol;
use super::session::{Pending, Session, State};
use super::transaction::Transaction;
use crate::number::grouped;
use crate::reply::{Reply, ReplyId};
use crate::time::Tick;
use alloc::boxed::Box;
use alloc::format;

impl Session {
    pub(super) fn accept(&mut self, now: Tick, pending: Pending) {
        match pending {
            Pending::Sender(mail) => {
                self.thwarted = false;
                self.state = State::Collecting(Box::new(Transaction::new(mail)));
                self.say(Reply::of(ReplyId::SenderOk));
            }
            Pending::Recipient(mut transaction, recipient) => {
                transaction.add(recipient);
                self.state = State::Collecting(transaction);
                self.say(Reply::of(ReplyId::RecipientOk));
            }
            Pending::Data(transaction) => {
                self.state = State::Content(Box::new(Receiving::new(now, *transaction, self.offer.record)));
                self.say(Reply::of(ReplyId::StartContent));
            }
            Pending::Chunk(transaction, chunk) => {
                self.begin_chunk(now, Box::new(Receiving::new(now, *transaction, self.offer.record)), chunk);
            }
            // A commit is answered by `handle_commit`; a bare yes has no queue id to give.
            Pending::Commit { replies } => self.say_all(&Reply::of(ReplyId::LocalTrouble), replies),
        }
    }

    pub(super) fn after_content(&mut self, now: Tick, receiving: Box<Receiving>) {
        if let Some(reply) = receiving.hopeless(0, &self.offer.limits) {
            self.note_content(&receiving);
            self.say(reply);
            self.close();
        } else if receiving.decoder.is_complete() {
            self.prompted = now;
            self.finish(*receiving);
        } else {
            self.state = State::Content(receiving);
        }
    }

    pub(super) fn begin_chunk(&mut self, now: Tick, mut receiving: Box<Receiving>, chunk: Chunk) {
        let limits = &self.offer.limits;
        receiving.chunks = receiving.chunks.saturating_add(1);
        if let Some(reply) = receiving.hopeless(chunk.size, limits) {
            receiving.fail(reply.clone(), &mut self.actions);
            self.note_content(&receiving);
            self.say(reply);
            return self.close();
        }
        if receiving.chunks > limits.chunks {
            let text = format!("Too many chunks: the limit is {}; send fewer and larger ones", limits.chunks);
            receiving.fail(Reply::saying(ReplyId::TooManyChunks, text), &mut self.actions);
        }
        receiving.last_input = now;
        receiving.window = (now, 0);
        self.after_chunk_octets(now, receiving, chunk);
    }

    pub(super) fn after_chunk_octets(&mut self, now: Tick, mut receiving: Box<Receiving>, chunk: Chunk) {
        if chunk.left > 0 {
            self.state = State::Chunks(receiving, chunk);
            return;
        }
        self.prompted = now;
        if chunk.last {
            self.finish(*receiving);
        } else if let Some(fault) = receiving.take_fault(&self.offer.limits) {
            self.note_content(&receiving);
            self.state = State::Failed;
            self.say(fault);
        } else {
            self.state = State::Chunks(receiving, chunk);
            self.say(Reply::saying(ReplyId::ChunkTaken, format!("{} octets taken", grouped(chunk.size))));
        }
        self.stop_if_asked();
    }

    pub(super) fn finish(&mut self, receiving: Receiving) {
        self.state = State::Ready;
        self.thwarted = false;
        let recipients = receiving.transaction.recipients().len();
        // RFC 2033 §4.2: one reply for each recipient that was accepted, in their order.
        let replies = if self.offer.protocol == Protocol::Lmtp { recipients } else { 1 };
        let sealed = receiving
            .finish(&self.offer, &mut self.actions)
            .and_then(|t| t.seal(&self.offer.hostname).ok_or(Reply::of(ReplyId::LocalTrouble)));
        match sealed {
            Ok(envelope) => self.ask(Question::Commit(envelope), Pending::Commit { replies }),
            Err(fault) => {
                self.say_all(&fault, replies);
                self.stop_if_asked();
            }
        }
    }

    /// Lets the octets of a refused chunk pass, then gives the reply (RFC 3030 §2).
    pub(super) fn skip(&mut self, now: Tick, octets: u64, reply: Reply, then: State) {
        if octets == 0 {
            self.state = then;
            self.say(reply);
        } else if octets > self.offer.limits.message_size.saturating_mul(2) {
            // Nobody should have to wait for this much; out of step, so the session ends.
            self.say(reply);
            self.close();
        } else {
            self.state = State::Skipping { left: octets, reply, last_input: now, then: Box::new(then) };
        }
    }
}
