import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * A wholesaler's transactions in memory, of the kinds that SPECjbb2005 has: new orders, payments, questions after an
 * order, deliveries and questions after the stock. Argument: thousands of transactions. Prints a checksum.
 */
public final class Transactions {
    private static final int ITEMS = 10_000;
    private static final int CUSTOMERS = 3_000;

    record Line(int item, int pieces, long price) {}

    static final class Order {
        final int number;
        final int customer;
        final List<Line> lines = new ArrayList<>();
        final String label;
        boolean delivered;

        Order(int number, int customer) {
            this.number = number;
            this.customer = customer;
            this.label = "order " + number + " of customer " + customer;
        }

        long total() {
            long sum = 0;
            for (Line line : lines) sum += line.pieces() * line.price();
            return sum;
        }
    }

    private final TreeMap<Integer, Order> orders = new TreeMap<>();
    private final ArrayDeque<Order> undelivered = new ArrayDeque<>();
    private final Map<Integer, Long> balances = new HashMap<>();
    private final Map<String, Integer> labels = new HashMap<>();
    private final int[] stock = new int[ITEMS];
    private long random = 88172645463325252L;
    private int nextOrder;
    private long checksum;

    private int below(int limit) {
        random ^= random << 13;
        random ^= random >>> 7;
        random ^= random << 17;
        return (int) Long.remainderUnsigned(random, limit);
    }

    private void newOrder() {
        Order order = new Order(nextOrder++, below(CUSTOMERS));
        for (int i = 5 + below(11); i > 0; i--) {
            int item = below(ITEMS);
            int pieces = 1 + below(10);
            stock[item] += stock[item] < pieces ? 91 : -pieces;
            order.lines.add(new Line(item, pieces, 100 + item % 9_900));
        }
        orders.put(order.number, order);
        labels.put(order.label, order.number);
        undelivered.add(order);
    }

    private void payment() {
        balances.merge(below(CUSTOMERS), (long) -below(5_000), Long::sum);
    }

    private void orderStatus() {
        if (nextOrder == 0) return;
        Order order = orders.get(below(nextOrder));
        if (order == null) return;
        checksum = checksum * 31 + labels.get("order " + order.number + " of customer " + order.customer);
        if (order.delivered) checksum += order.total();
    }

    private void delivery() {
        for (int i = 0; i < 10 && !undelivered.isEmpty(); i++) {
            Order order = undelivered.poll();
            order.delivered = true;
            balances.merge(order.customer, order.total(), Long::sum);
        }
        // The oldest orders are forgotten, so that the collector has something to do.
        while (orders.size() > 20_000) labels.remove(orders.pollFirstEntry().getValue().label);
    }

    private void stockLevel() {
        int low = 0;
        for (Order order : orders.tailMap(nextOrder - 20).values()) {
            for (Line line : order.lines) {
                if (stock[line.item()] < 15) low++;
            }
        }
        checksum = checksum * 31 + low;
    }

    private void run(long transactions) {
        for (long i = 0; i < transactions; i++) {
            int kind = below(100);
            if (kind < 44) newOrder();
            else if (kind < 87) payment();
            else if (kind < 91) orderStatus();
            else if (kind < 96) delivery();
            else stockLevel();
        }
        long sum = 0;
        for (long balance : balances.values()) sum += balance;
        System.out.printf("%016x%n", checksum * 31 + sum);
    }

    public static void main(String[] arguments) {
        new Transactions().run(Long.parseLong(arguments[0]) * 1000);
    }
}
