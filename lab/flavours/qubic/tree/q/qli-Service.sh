# No interpreter is named: the unit's own shell runs this.
exec ./qli-Client -service --pool 127.0.77.250:4444
