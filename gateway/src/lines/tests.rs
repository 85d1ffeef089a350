mod forms;
mod judged;
mod profiles;
