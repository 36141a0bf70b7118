DROP INDEX creators_elsewhere;
