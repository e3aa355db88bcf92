-- A small shop in memory: @ORDERS@ orders, what customers bought, what sold best.
pragma temp_store = memory;
create table customer (id integer primary key, name text, region integer);
create table orders (id integer primary key, customer integer, item integer, pieces integer, note text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
    insert into customer select i, 'customer ' || (i * 7919 % 2003), i % 17 from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < @ORDERS@)
    insert into orders select i, i * 48271 % 2000 + 1, i * 69621 % 500, i % 9 + 1, 'order ' || (i * 16807 % 10007) from n;
create index by_customer on orders (customer);
create index by_note on orders (note);
select region, count(*), sum(pieces) from orders join customer on customer.id = orders.customer group by region order by region;
select item, sum(pieces * (item + 3)) as value from orders group by item order by value desc, item limit 10;
update orders set pieces = pieces + 1 where note like 'order 1%';
delete from orders where customer in (select id from customer where region = 3);
select count(*), sum(pieces), min(note), max(note) from orders;
select name, (select count(*) from orders where customer = customer.id) from customer order by name limit 5;
select substr(note, 7, 2) as start, count(distinct customer) from orders group by start order by start;
