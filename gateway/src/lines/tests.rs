mod forms;
mod judged;
