-- Whoever answers requests is woken when one begins to wait, whichever node took it on.
CREATE FUNCTION requests_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('hundi_requests', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;
CREATE TRIGGER requests_wait AFTER INSERT OR UPDATE ON requests
    FOR EACH ROW WHEN (NEW.state = 'pending') EXECUTE FUNCTION requests_wait();
