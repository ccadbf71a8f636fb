//! Who is paid, and how much, whatever the agent says about it: payees that operators registered,
//! sites that no vendor has, amounts in words against amounts in numbers.

mod payees;
mod sites;
