//! Closures that tasks can run.

/// A closure that can be sent to the tasks of a job, each of which is a thread.
///
/// All that is [`Send`] implements it. It stands in the API in the place of `Send` for the compiler's message alone, which
/// says what to do about a closure that is not.
#[diagnostic::on_unimplemented(
    message = "the closure cannot be sent to the tasks of the job, which are threads",
    label = "captures something that is not `Send`",
    note = "capture an `Arc` instead of an `Rc`, an atomic or a `Mutex` instead of a `Cell` or a `RefCell`; a plain variable that the closure alone changes needs none of these: let it `move` there",
    note = "what cannot be sent at all can be made in the task: by the closure that is given to `process`, which returns the function"
)]
pub trait SendFunction: Send {}

// Otherwise the message would be that of `Send`, which names what was captured and leaves it at that.
#[diagnostic::do_not_recommend]
impl<F: Send> SendFunction for F {}
