-- Run again at every start and every save: it has to bear that.
create table if not exists visits (id serial primary key, at timestamptz not null default now());
insert into visits default values;
