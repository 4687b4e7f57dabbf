//! Each fault as both sides see it, and what passes when there is none.

mod answers;
mod origin;
mod passing;
mod requests;
mod seeded;
mod wire;
