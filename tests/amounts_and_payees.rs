//! Who is paid, and how much, whatever the agent says about it: payees that operators registered,
//! sites that no vendor has, amounts in words against amounts in numbers, prompts that are not
//! the usual one.

mod again;
mod doors;
mod payees;
mod sites;
mod usual_prompt;
mod words;
